"""Train the two face presets and write assets/models: `python -m benchmarks.train_faces`.

Half of `lfw` (rows with an even number) is trained on, the odd half is held out. The weights, and a record of command,
seed, split, accuracy and checksum, are written beside each other. Numbers may differ in the last digits on another
processor; the checksum names the files that are shipped.
"""

import argparse
import hashlib
import json
import platform
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import nn

from core.images.load import load_images
from core.images.picture import Prepared
from core.models.build import build_model
from core.models.presets import FACE_SPECS, MODELS
from core.models.spec import ModelSpec
from core.models.training.simple import TrainingConfig, accuracy, normalised, train

CONFIGS = {
    "lenet-faces": TrainingConfig(epochs=150, learning_rate=0.05),
    "convnet-faces": TrainingConfig(epochs=30, learning_rate=0.02),
}


def main() -> None:
    """Train, measure on the held-out half, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=MODELS, help="folder to write (default: assets/models)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    records: dict[str, object] = {}
    for name, spec in FACE_SPECS.items():
        prepared = load_images("lfw", spec=spec)
        kept, held_out = split(prepared)
        config = replace(CONFIGS[name], seed=arguments.seed)
        weights = train(spec, *_arrays(kept), config)
        data = save(weights, metadata={"origin": "python -m benchmarks.train_faces"})
        (arguments.out / f"{name}.safetensors").write_bytes(data)
        norms = gradient_norms(spec, weights, *_arrays(held_out))
        records[name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "training": asdict(config),
            "trained_on_accuracy": accuracy(spec, weights, *_arrays(kept)),
            "held_out_accuracy": accuracy(spec, weights, *_arrays(held_out)),
            "held_out_gradient_norm": {
                "lowest": float(norms.min()),
                "median": float(np.median(norms)),
                "highest": float(norms.max()),
            },
        }
        print(name, records[name])
    record = {
        "command": f"python -m benchmarks.train_faces --seed {arguments.seed}",
        "data": "lfw (scikit-image's lfw_subset), resized to 32x32; class 1 is a face, class 0 is none",
        "split": {
            word: sorted(p.name for p in half)
            for word, half in zip(("trained_on", "held_out"), (kept, held_out), strict=True)
        },
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
        "models": records,
    }
    (arguments.out / "faces.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def split(prepared: list[Prepared]) -> tuple[list[Prepared], list[Prepared]]:
    """(trained on, held out): even and odd row numbers of lfw_subset, which end every name."""
    even = [item for item in prepared if int(item.name[-3:]) % 2 == 0]
    return even, [item for item in prepared if int(item.name[-3:]) % 2]


def gradient_norms(
    spec: ModelSpec, weights: dict[str, torch.Tensor], images: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """(N,) Euclidean norm of each image's gradient: near zero would leave an attack nothing to match."""
    model = build_model(spec, weights)
    norms = []
    for x, label in zip(normalised(spec, images), labels.tolist(), strict=True):
        loss = nn.functional.cross_entropy(model(x[None]), torch.tensor([label]))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
    return np.array(norms)


def _arrays(prepared: list[Prepared]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([item.original for item in prepared]), np.array([item.label for item in prepared])


if __name__ == "__main__":
    main()
