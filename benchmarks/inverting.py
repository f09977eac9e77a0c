"""Inverting Gradients against a plain loop of one image at a time: `python -m benchmarks.inverting --images 16`.

Same starts, paper settings but for the number of steps. Prints the median PSNR of both, and the spread that 1e-6 start
noise gives: they agree when the medians differ by less than twice that. The full ConvNet takes about a third of a
second an image-step on two cores, so the whole table (images × steps × (runs + 2)) takes hours there. With `--keep
FOLDER` each group of images is kept as it is done, and a run that was stopped goes on from there.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

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


def in_groups(
    attack: Callable[[Observation, torch.Tensor, int], torch.Tensor],
    name: str,
    observation: Observation,
    start: torch.Tensor,
    arguments: argparse.Namespace,
) -> tuple[torch.Tensor, float]:
    """Images (N, C, H, W) and seconds of `attack` on groups of `--group` images; groups already kept are read."""
    found, seconds = [], 0.0
    for first in range(0, observation.count, arguments.group):
        members = list(range(first, min(first + arguments.group, observation.count)))
        named = f"{arguments.model}-{arguments.images}x{arguments.steps}-{name}-{first}-{arguments.group}.pt"
        path = arguments.keep / named if arguments.keep else None
        if path is None or not path.exists():
            began = time.perf_counter()
            images = attack(observation.select(members), start[members], arguments.steps).cpu()
            kept = {"images": images, "seconds": torch.tensor(time.perf_counter() - began)}
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.save(kept, path.with_suffix(".part"))
                path.with_suffix(".part").rename(path)
        else:
            kept = torch.load(path, weights_only=True)
        found.append(kept["images"])
        seconds += float(kept["seconds"])
    return torch.cat(found), seconds


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="convnet")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3, help="runs with start noise of 1e-6")
    parser.add_argument("--group", type=int, default=4, help="images attacked at once")
    parser.add_argument("--keep", type=Path, help="folder for what is done already")
    arguments = parser.parse_args()
    spec = PRESETS[arguments.model]
    pictures = load_images("photos", spec=spec, limit=arguments.images)
    originals = torch.from_numpy(np.stack([p.original for p in pictures])).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor([[p.label] for p in pictures])
    observation, _ = observe(build_model(spec), spec, originals[:, None], labels, ThreatModel())
    start = draw("normal", 0, range(len(pictures)), 1, originals[0].numel()).reshape(-1, 1, *originals.shape[1:])
    images, seconds = in_groups(batched, "batched-0", observation, start, arguments)
    medians = [median_psnr(images, originals)]
    print(f"batched: {medians[0]:.3f} dB in {seconds:.0f} s", flush=True)
    images, seconds = in_groups(one_by_one, "one", observation, start, arguments)
    plain = median_psnr(images, originals)
    print(f"one at a time: {plain:.3f} dB in {seconds:.0f} s", flush=True)
    for run in range(1, arguments.runs + 1):
        noise = 1e-6 * torch.randn(start.shape, generator=torch.Generator().manual_seed(run))
        images, seconds = in_groups(batched, f"batched-{run}", observation, start + noise, arguments)
        medians.append(median_psnr(images, originals))
        spread = max(medians) - min(medians)
        print(f"batched, start noise 1e-6 ({run}): {medians[-1]:.3f} dB in {seconds:.0f} s", flush=True)
        print(f"  difference {abs(plain - medians[0]):.3f} dB, twice the spread {2 * spread:.3f} dB", flush=True)


if __name__ == "__main__":
    main()
