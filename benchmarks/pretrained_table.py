"""Write what is known of torchvision's models without torch: `python -m benchmarks.pretrained_table`.

assets/weights/torchvision.json: the ImageNet weights that torchvision publishes for each model (file, size,
licence), from its own records; assets/weights/parameters.json: how many numbers each has, counted on the meta device
at two values of whatever the count depends on (classes, channels, and a ViT's image size).
"""

import json
import math
from dataclasses import replace
from typing import Any

from torchvision import models

from core.models.build import build_skeleton
from core.models.catalogue import CATALOGUE
from core.models.pretrained import TABLE
from core.models.sizes import TABLE as COUNTS
from core.models.spec import ModelSpec

# torchvision normalises twice for these (transform_input): together that is (x - 0.5) / 0.5, which our models take.
INCEPTIONS = ("googlenet", "inception_v3")
LICENCE = "BSD-3-Clause code; trained on ImageNet-1k, whose images are for non-commercial research"
SWAG = "CC-BY-NC 4.0; trained on public Instagram pictures (SWAG), then ImageNet-1k"


def published(name: str) -> dict[str, Any]:
    """The record of one model's weights: the first version trained on ImageNet-1k alone where there is one."""
    known = {member.name: member for member in models.get_model_weights(name)}
    plain = known.get("IMAGENET1K_V1")
    member = plain or known["IMAGENET1K_SWAG_LINEAR_V1"]
    transforms = member.transforms()
    if len(member.meta["categories"]) != 1000:
        raise ValueError(f"{member} is not for 1000 classes.")
    half = name in INCEPTIONS
    return {
        "url": member.url,
        "mebibytes": math.ceil(member.meta["_file_size"]),
        "licence": LICENCE if plain else SWAG,
        "size": transforms.crop_size[0],
        "mean": [0.5] * 3 if half else list(transforms.mean),
        "std": [0.5] * 3 if half else list(transforms.std),
    }


def counted(spec: ModelSpec) -> int:
    """Parameters of the model on the meta device."""
    return sum(p.numel() for p in build_skeleton(spec, check=False).parameters())


def counts(name: str) -> dict[str, int]:
    """Parameters = constant + classes · K + channels · C (+ tokens · T for a ViT, of patch × patch pixels)."""
    known = CATALOGUE[name]
    size = known.multiple if known.multiple > 1 else 224
    spec = ModelSpec(name, 10, height=size, width=size)
    here = counted(spec)
    classes = counted(replace(spec, num_classes=11)) - here
    channels = counted(replace(spec, channels=4, mean=(0.0,) * 4, std=(1.0,) * 4)) - here
    row = {"constant": here - 10 * classes - 3 * channels, "classes": classes, "channels": channels}
    if name.startswith("vit_"):
        tokens = (counted(replace(spec, height=2 * size, width=2 * size)) - here) // 3
        row |= {"constant": row["constant"] - tokens, "tokens": tokens, "patch": known.multiple}
    return row


def main() -> None:
    """Write both tables."""
    names = [name for name, known in CATALOGUE.items() if not known.own]
    for path, row in ((TABLE, published), (COUNTS, counts)):
        lines = [f"{json.dumps(name)}: {json.dumps(row(name))}" for name in names]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"{path.name}: {len(lines)} models")


if __name__ == "__main__":
    main()
