"""Train the bundled judges and write assets/judges: `python -m benchmarks.train_judges`.

A judge is a classifier that is not the victim and says whether it still names the class of a reconstruction. Of each
bundled set two are trained, on disjoint halves (even and odd numbers in the names), so that every original has one that
never saw it. Each image is learned clean and with seeded noise, blur and changes of contrast, so that a judge does not
stumble over what a person looks through. One more class, "nothing recognisable", is learned from noise, blobs and dull
colour: without it a judge called pure noise a face, and a failed attack would have counted as a leak. Weights and a
record, with what they do on the other half, are written beside each other; numbers may differ in the last digits on
another processor.
"""

import argparse
import hashlib
import json
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from scipy import ndimage

from core.images.load import load_images
from core.images.picture import Prepared
from core.images.samples import SAMPLES
from core.models.judges import BUNDLED
from core.models.spec import ModelSpec
from core.models.training.simple import TrainingConfig, accuracy, train

ARGUMENTS = {"base": 8}  # an eighth of ResNet20-4's width: 70,000 parameters


NOTHING = "nothing recognisable"


@dataclass(frozen=True)
class Recipe:
    """How the judges of one set are trained."""

    copies: int  # of each image: one clean, the others damaged
    training: TrainingConfig


RECIPES = {
    "lfw": Recipe(6, TrainingConfig(epochs=12, batch_size=40, learning_rate=0.1)),
    "photos": Recipe(24, TrainingConfig(epochs=20, batch_size=32, learning_rate=0.1, shift=4)),
}


def main() -> None:
    """Train, measure on the other half, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BUNDLED, help="folder to write (default: assets/judges)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for source in RECIPES:
        for half in ("even", "odd"):
            name = f"{source}-{half}"
            data, record = train_judge(source, half, arguments.seed)
            (arguments.out / f"{name}.safetensors").write_bytes(data)
            (arguments.out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            print(name, {key: value for key, value in record.items() if "accuracy" in key})


def train_judge(source: str, half: str, seed: int) -> tuple[bytes, dict[str, object]]:
    """Safetensors bytes and record of the judge of one half of a bundled set."""
    spec = judge_spec(source, f"judge {source}-{half}")
    prepared = load_images(source, spec=spec)
    kept, others = ([i for i in prepared if (number(i) % 2 == 0) == own] for own in (half == "even", half != "even"))
    recipe = RECIPES[source]
    config = replace(recipe.training, seed=seed + 1000 * (half == "odd"))
    images, labels = arrays(kept)
    rng = np.random.default_rng(config.seed)
    learned = np.concatenate([images, *(damaged(images, rng) for _ in range(recipe.copies - 1))])
    empty = nothing(len(learned) // 3, rng)
    truths = np.concatenate([np.tile(labels, recipe.copies), np.full(len(empty), spec.num_classes - 1)])
    weights = train(spec, np.concatenate([learned, empty]), truths, config)
    data = save(weights, metadata={"origin": "python -m benchmarks.train_judges"})
    unseen, truth = arrays(others)
    fresh = nothing(300, np.random.default_rng(2))
    record: dict[str, object] = {
        "command": f"python -m benchmarks.train_judges --seed {seed}",
        "spec": asdict(replace(spec, weights_sha256=hashlib.sha256(data).hexdigest())),
        "trained_on": sorted(item.name for item in kept),
        "only": sorted(item.name for item in prepared),
        "held_out_accuracy": accuracy(spec, weights, unseen, truth),
        "held_out_accuracy_damaged": accuracy(spec, weights, damaged(unseen, np.random.default_rng(1)), truth),
        "held_out_nothing_accuracy": accuracy(spec, weights, fresh, np.full(len(fresh), spec.num_classes - 1)),
        "trained_on_accuracy": accuracy(spec, weights, images, labels),
        "copies": recipe.copies,
        "training": asdict(config),
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
    }
    return data, record


def judge_spec(source: str, origin: str) -> ModelSpec:
    """A narrow ResNet20 on 32 × 32 colour: another architecture than the bundled victims'."""
    classes = (*SAMPLES[source].classes, NOTHING)
    return ModelSpec(
        "resnet20-4",
        num_classes=len(classes),
        arguments=dict(ARGUMENTS),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        class_names=classes,
        origin=origin,
    )


def number(item: Prepared) -> int:
    """The number that ends a bundled picture's name."""
    return int(item.name.rpartition("-")[2])


def damaged(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, H, W, 3) uint8 -> the same with blur up to 1.2 px, contrast .5 to 1.2, and noise up to .15 of the range."""
    result = []
    for image in images:
        pixels = ndimage.gaussian_filter(image / 255, (*(rng.uniform(0, 1.2),) * 2, 0))
        pixels = (pixels - 0.5) * rng.uniform(0.5, 1.2) + 0.5 + rng.uniform(-0.1, 0.1)
        pixels = pixels + rng.uniform(0, 0.15) * rng.normal(size=image.shape)
        result.append(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))
    return np.stack(result)


def nothing(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 32, 32, 3) uint8 of noise, blobs, both, and dull colour in turn; every other four of them grey."""
    result = []
    for number in range(count):
        noise = rng.normal(size=(32, 32, 3))
        level, spread = rng.uniform(0.2, 0.8, 3), rng.uniform(0.1, 0.5)
        blobs = ndimage.gaussian_filter(noise, (*(rng.uniform(0.7, 6),) * 2, 0))
        pixels = (
            rng.uniform(size=noise.shape) if rng.uniform() < 0.5 else level + spread * noise,
            level + spread * blobs / blobs.std(),
            level + spread * (blobs / blobs.std() + rng.normal(size=noise.shape)) / 2,
            level + rng.uniform(0, 0.05) * rng.normal(size=noise.shape),
        )[number % 4]
        if number // 4 % 2:
            pixels = pixels.mean(2, keepdims=True).repeat(3, 2)
        result.append(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))
    return np.stack(result)


def arrays(prepared: list[Prepared]) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W, 3) uint8 and (N,) labels."""
    return np.stack([item.original for item in prepared]), np.array([item.label for item in prepared])


if __name__ == "__main__":
    main()
