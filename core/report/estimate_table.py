"""Image-steps a second on a small machine, for stores that have not measured their own."""

from collections.abc import Mapping
from typing import Any

from core.models.catalogue import CATALOGUE

MEASURED_ON = "measured by us on 2 busy CPU cores; yours may differ"
COLD_SECONDS = 8.0  # the first worker imports torch and builds the model
UNKNOWN_RATE = 3.0

# (architecture, width, attack) -> (image-steps a second at 32 px, share of the allowed iterations used). The width is
# the architecture's `base`, 0 where it has none. LeNet and the MLP by benchmarks/rates.py. ConvNet of base 8: six runs
# of the mini study of 4,800 to 5,600 image-steps each, 2026-11-25, beside other work on both cores (37 to 48). The
# full-width nets: docs/benchmarks.md, 8 images, one thread.
RATES: dict[tuple[str, int, str], tuple[float, float]] = {
    ("lenet", 0, "dlg"): (92.0, 0.28),  # the demo, as the runner ran it
    ("lenet", 0, "idlg"): (207.0, 0.28),
    ("lenet", 0, "inverting-gradients"): (254.0, 1.0),
    ("mlp", 0, "dlg"): (19.0, 1.0),
    ("mlp", 0, "idlg"): (34.0, 1.0),
    ("mlp", 0, "inverting-gradients"): (17.0, 1.0),
    ("convnet", 8, "inverting-gradients"): (44.0, 1.0),
    ("convnet", 64, "inverting-gradients"): (2.4, 1.0),
    ("resnet20-4", 64, "inverting-gradients"): (5.0, 1.0),
}


def width_of(architecture: str, arguments: Mapping[str, Any]) -> int:
    """The `base` of a net, its usual one where it is not given; 0 where the architecture has no such argument."""
    known = CATALOGUE[architecture].arguments.get("base") if architecture in CATALOGUE else None
    return 0 if known is None else int(arguments.get("base", known.default))


def table_rate(architecture: str, arguments: Mapping[str, Any], attack: str) -> tuple[float, float, bool]:
    """(image-steps a second at 32 px, share used, whether this very net was measured).

    A net of another width is as quick as the next wider one at least; one wider than all, slower by the square.
    """
    width = width_of(architecture, arguments)
    if (architecture, width, attack) in RATES:
        return *RATES[architecture, width, attack], True
    like = sorted(base for name, base, kind in RATES if (name, kind) == (architecture, attack))
    if not like:
        return UNKNOWN_RATE, 1.0, False
    near = next((base for base in like if base >= width), like[-1])
    rate, used = RATES[architecture, near, attack]
    return rate * min(1.0, near / max(1, width)) ** 2, used, False
