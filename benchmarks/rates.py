"""Image-steps a second of every preset under every attack, for the table in core/report/estimate_table.py.

    python -m benchmarks.rates [--images 4] [--iterations 10] [--threads 2]

An image-step is one iteration on one image of one restart. Only the pace is measured: how early an attack stops
depends on the model, and is learned from a store's own runs.
"""

import argparse
import dataclasses
import time

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", default="lenet,mlp,convnet,convnet-narrow,resnet20-4")
    parser.add_argument("--attacks", default="dlg,idlg,inverting-gradients")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    print("| architecture | attack | image-steps a second |\n| --- | --- | ---: |")
    for model in options.models.split(","):
        for attack in options.attacks.split(","):
            rate = pace(model, attack, options.images, options.iterations)
            print(f"| {model} | {attack} | {rate:.1f} |", flush=True)


def pace(preset: str, attack_name: str, images: int, iterations: int) -> float:
    """Image-steps a second of one preset under one attack."""
    import torch

    from core.attacks import ATTACKS, configure
    from core.images.load import load_images
    from core.jobs.compose import preset_model
    from core.leakage.threat import ThreatModel
    from core.leakage.victim import observe
    from core.models.build import build_model, load_weights

    spec, weights = preset_model(preset)
    model = build_model(spec, load_weights(weights) if weights else None)
    prepared = load_images("photos", spec=spec, limit=images)
    pixels = np.stack([p.original for p in prepared]).transpose(0, 3, 1, 2)[:, None]
    labels = torch.tensor([[p.label] for p in prepared])
    observation, _ = observe(model, spec, torch.from_numpy(pixels).float() / 255, labels, ThreatModel())
    attack = ATTACKS[attack_name]
    length = "iterations" if hasattr(attack.config, "iterations") else "steps"
    config = configure(attack_name, {length: iterations, "restarts": 1})
    attack.reconstruct(observation, dataclasses.replace(config, **{length: 1}), seed=0)  # warm
    started = time.monotonic()
    done = attack.reconstruct(observation, config, seed=0)
    return float(done.iterations.sum()) / (time.monotonic() - started)


if __name__ == "__main__":
    main()
