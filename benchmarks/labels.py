"""How many labels each rule recovers: `python -m benchmarks.labels [--updates 100]`; the table of docs/labels.md.

Labels are drawn at random with repeats, the bundled photographs' crops are the images. Everything is seeded.
"""

import argparse
import datetime
from dataclasses import replace

import numpy as np
import torch

from core.attacks.label_rules import LABEL_RULES, label_accuracy
from core.attacks.labels import recover_labels
from core.errors import UserError
from core.images.load import load_images
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model, load_weights
from core.models.presets import PRESETS, preset_weights
from core.models.spec import ModelSpec

SMALL = {"height": 16, "width": 16}
MODELS: dict[str, ModelSpec] = {
    "mlp, ReLU": ModelSpec("mlp", 10, arguments={"hidden": [64], "activation": "relu"}, **SMALL),
    "mlp, tanh": ModelSpec("mlp", 10, arguments={"hidden": [64], "activation": "tanh"}, **SMALL),
    "lenet": ModelSpec("lenet", 10, **SMALL),
    "convnet-narrow": ModelSpec("convnet", 10, arguments={"base": 8}, **SMALL),
    "lenet, 100 classes": ModelSpec("lenet", 100, **SMALL),
    "lenet-faces (trained)": PRESETS["lenet-faces"],
}


def observed(name: str, updates: int, threat: ThreatModel, seed: int = 0) -> tuple[Observation, np.ndarray]:
    """N updates of random crops under random labels, repeats allowed (a trained model gets the true ones)."""
    spec = MODELS[name]
    source = np.random.default_rng(seed)
    known = load_images("lfw" if spec.weights_sha256 else "photos", spec=spec, limit=None, seed=0)
    picks = source.integers(0, len(known), (updates, threat.batch_size))
    pixels = np.stack([np.stack([known[i].original for i in row]) for row in picks])
    labels = source.integers(0, spec.num_classes, picks.shape)
    if spec.weights_sha256:
        labels = np.array([image.label for image in known])[picks]
    images = torch.from_numpy(pixels).movedim(-1, 2).float() / 255
    weights = preset_weights(name.split()[0]) if spec.weights_sha256 else None
    model = build_model(spec, None if weights is None else load_weights(weights))
    observation, _ = observe(model, spec, images, torch.from_numpy(labels), threat)
    return observation, labels


def cell(observation: Observation, rule: str, labels: np.ndarray) -> str:
    """A rule's accuracy in words; a dash where it cannot work."""
    try:
        return words(recover_labels(observation, rule).numpy(), labels)
    except UserError:
        return "–"


def words(found: np.ndarray, labels: np.ndarray) -> str:
    """Mean share in percent, and the share of updates with all labels right."""
    measured = label_accuracy(found, labels)
    return f"{100 * measured.mean:.0f} ({100 * measured.exact.mean():.0f})"


def main() -> None:
    """Print the table: mean share of labels recovered, in percent, and in brackets the updates with all right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16, 64, 128])
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}, {arguments.updates} updates a row, torch {torch.__version__}, CPU")
    print(f"| model | update | B | {' | '.join(LABEL_RULES)} | guessing |")
    print(f"| --- | --- | ---: | {' | '.join(['---:'] * (len(LABEL_RULES) + 1))} |")
    fedsgd, fedavg = ThreatModel(), ThreatModel(update="weights", local_epochs=2, local_batch=4, local_lr=0.01)
    for name in arguments.models:
        for size in arguments.batches:
            for word, threat in (("gradient", fedsgd), ("FedAvg", fedavg)):
                if word == "FedAvg" and size not in (16, 64):
                    continue
                updates = max(8, min(arguments.updates, 2048 // size))
                observation, labels = observed(name, updates, replace(threat, batch_size=size))
                guess = np.random.default_rng(1).integers(0, observation.spec.num_classes, labels.shape)
                cells = [cell(observation, rule, labels) for rule in LABEL_RULES] + [words(guess, labels)]
                print(f"| {name} | {word} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
