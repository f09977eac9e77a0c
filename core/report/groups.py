"""Metrics by what they look at, so that a table of many stays readable; and which few stand there at first."""

from collections.abc import Iterable

from core.metrics.registry import METRICS

GROUPS = ("pixels", "structure", "deep features", "classifier", "other", "diagnostics")
DIAGNOSTICS = "diagnostics"
# A word of a metric's name says its group; the first that fits counts.
WORDS = (
    ("mse", "pixels"),
    ("mae", "pixels"),
    ("psnr", "pixels"),
    ("ssim", "structure"),
    ("gmsd", "structure"),
    ("haarpsi", "structure"),
    ("lpips", "deep features"),
    ("dists", "deep features"),
    ("dreamsim", "deep features"),
    ("clip", "deep features"),
    ("dino", "deep features"),
    ("dinov2", "deep features"),
    ("semsim", "deep features"),
    ("classifier", "classifier"),
    ("judge", "classifier"),
)
FIRST = (
    "psnr", "mse", "ssim", "lpips_alex", "classifier_probability", "dists", "psnr_registered", "haarpsi", "semsim",
    "lpips_vgg", "gmsd",
)  # fmt: skip
PIXELWISE = ("psnr", "mse", "mae")
PERCEIVED = ("lpips_alex", "lpips_vgg", "lpips_squeeze", "dists", "dreamsim", "semsim", "classifier_probability")
SHOWN = 8  # scores on a card before anyone chooses


def group(name: str) -> str:
    """One of GROUPS."""
    record = METRICS.get(name)
    if record is not None and record.diagnostic:
        return DIAGNOSTICS
    words = name.split("_")
    return next((found for word, found in WORDS if word in words), "other")


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The metrics by group, in the registry's order within each; those not known here last, by name."""
    place = {name: number for number, name in enumerate(METRICS)}
    return tuple(sorted(names, key=lambda n: (GROUPS.index(group(n)), place.get(n, len(place)), n)))


def first_shown(names: Iterable[str], most: int = SHOWN) -> tuple[str, ...]:
    """The few metrics that are shown before anyone chooses: up to `most`, in order, no diagnostic."""
    known = [name for name in in_order(names) if group(name) != DIAGNOSTICS]
    preferred = [name for name in FIRST if name in known]
    rest = [name for name in known if name not in preferred]
    chosen = set((preferred + rest)[:most])
    return tuple(name for name in known if name in chosen)


def two_measures(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of these metrics that say different things, for a first look; None without any.

    PSNR against LPIPS, another deep distance or an independent classifier; else two of different groups. Two of one
    group rank alike by construction (PSNR is MSE on another scale) and would show a line.
    """
    known = [name for name in in_order(names) if group(name) != DIAGNOSTICS]
    if not known:
        return None
    first = next((name for name in PIXELWISE if name in known), known[0])
    others = [name for name in known if group(name) != group(first)] or [name for name in known if name != first]
    return first, next((name for name in PERCEIVED if name in others), others[0] if others else first)
