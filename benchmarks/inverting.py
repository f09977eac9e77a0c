"""Inverting Gradients against a plain loop of one image at a time: `python -m benchmarks.inverting --images 16`.

Same starts, paper settings but for the number of steps. Prints the median PSNR of both, and the spread that 1e-6 start
noise gives: they agree when the medians differ by less than twice that. The full ConvNet takes about a third of a
second an image-step on two cores, so the whole table (images × steps × (runs + 2)) takes hours there; use a GPU.
"""

import argparse
import time

import numpy as np
import torch

from core.attacks.descent import Descent
from core.attacks.engine import draw, set_up
from core.attacks.inverting import InvertingConfig
from core.images.load import load_images
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.presets import PRESETS
from tests.attacks.test_inverting import plain_loop


def batched(observation: Observation, start: torch.Tensor, steps: int) -> torch.Tensor:
    """All images at once from `start` (N, 1, C, H, W); (N, C, H, W) on the [0, 1] scale."""
    labels = observation.labels
    if labels is None:
        raise ValueError("This comparison needs granted labels.")
    descent = Descent(set_up(observation, 1), InvertingConfig(steps=steps), labels)
    descent.begin(start.clone())
    for step in range(steps):
        descent.step(step)
    return descent.unit_images()[:, 0]


def one_by_one(observation: Observation, start: torch.Tensor, steps: int) -> torch.Tensor:
    """The same by the plain loop, on the CPU."""
    spec = observation.spec
    model = build_model(spec, observation.weights)
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    found = []
    for n in range(observation.count):
        observed = [gradient[n] for gradient in observation.gradients.values()]
        image, _ = plain_loop(model, observed, observation.labels[n], start[n], spec, steps)  # type: ignore[index]
        found.append(image[0] * std + mean)
    return torch.stack(found)


def median_psnr(images: torch.Tensor, originals: torch.Tensor) -> float:
    """Median over images of the PSNR after rounding to 8 bits."""
    error = ((images * 255).round() / 255 - originals).square().flatten(1).mean(1)
    return float(np.median(-10 * torch.log10(error.cpu()).numpy()))


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="convnet")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3, help="runs with start noise of 1e-6")
    arguments = parser.parse_args()
    spec = PRESETS[arguments.model]
    pictures = load_images("photos", spec=spec, limit=arguments.images)
    originals = torch.from_numpy(np.stack([p.original for p in pictures])).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor([[p.label] for p in pictures])
    observation, _ = observe(build_model(spec), spec, originals[:, None], labels, ThreatModel())
    start = draw("normal", 0, range(len(pictures)), 1, originals[0].numel()).reshape(-1, 1, *originals.shape[1:])
    medians = []
    for run in range(arguments.runs + 1):
        noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(run)) * (1e-6 if run else 0)
        began = time.perf_counter()
        medians.append(median_psnr(batched(observation, start + noise, arguments.steps), originals))
        print(
            f"batched, start noise {1e-6 if run else 0:g}: {medians[-1]:.3f} dB in {time.perf_counter() - began:.0f} s"
        )
    began = time.perf_counter()
    plain = median_psnr(one_by_one(observation, start, arguments.steps), originals)
    print(f"one at a time: {plain:.3f} dB in {time.perf_counter() - began:.0f} s")
    spread = max(medians) - min(medians)
    print(f"difference {abs(plain - medians[0]):.3f} dB, spread {spread:.3f} dB ({arguments.images} images)")


if __name__ == "__main__":
    main()
