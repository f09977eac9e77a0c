"""One cell of benchmarks.attacks, in a process of its own: `python -m benchmarks.cells JSON`, one line of JSON back.

What is timed is the registered attack Inverting Gradients itself, with its own settings but for the number of steps.
"""

import dataclasses
import json
import resource
import sys
import time
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.attacks import ATTACKS, configure
from core.attacks.engine import Quiet, set_up
from core.attacks.passes import step
from core.images.load import load_images
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.presets import PRESETS
from core.models.spec import ModelSpec

ATTACK = "inverting-gradients"
SCORED = 64  # images that the median PSNR is taken over


class Stopwatch(Quiet):
    """A Progress that keeps when each step was done, by the clock and by what this process had computed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: list[float] = []
        self.work: list[float] = []

    def step(self, done: int, total: int, losses: torch.Tensor) -> None:
        """Wait for the device, then look at the clock."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter())
        self.work.append(time.process_time())


def per_step(times: list[float]) -> float:
    """Median seconds of a step in the later half of the run, when all preparation is over."""
    gaps = np.diff(times)
    return float(np.median(gaps[len(gaps) // 2 :]))


def spec_of(model: str, size: int, classes: int) -> ModelSpec:
    """A preset, or one of torchvision's by name, for images of size × size."""
    base = PRESETS.get(model) or ModelSpec(model, num_classes=classes)
    return dataclasses.replace(base, height=size, width=size, num_classes=classes, class_names=())


def targets(spec: ModelSpec, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Real pictures (N, 1, C, H, W) in [0, 1], over and over where there are too few, and labels (N, 1)."""
    found = load_images("lfw", spec=spec, limit=min(count, SCORED))
    pixels = np.stack([p.original for p in found]).transpose(0, 3, 1, 2)[:, None]
    rows = np.arange(count) % len(found)
    images = torch.from_numpy(pixels[rows]).float() / 255
    return images, torch.arange(count)[:, None] % spec.num_classes


def observation_of(asked: dict[str, Any]) -> tuple[Observation, torch.Tensor]:
    """The updates of the cell's model and images, and the images."""
    device = torch.device(asked["device"])
    spec = spec_of(asked["model"], asked["size"], asked["classes"])
    images, labels = targets(spec, asked["images"])
    model = build_model(spec).to(device)
    return observe(model, spec, images.to(device), labels.to(device), ThreatModel())[0], images


def ours(asked: dict[str, Any]) -> dict[str, Any]:
    """Rate, memory, PSNR and form of our engine."""
    device = torch.device(asked["device"])
    observation, images = observation_of(asked)
    config = configure(ATTACK, {"steps": asked["steps"], **asked["settings"]})
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
    watch = Stopwatch(device)
    done = ATTACKS[ATTACK].reconstruct(observation, config, seed=0, progress=watch)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) - held
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held
    return {
        "rate": asked["images"] / per_step(watch.times),
        "work_rate": asked["images"] / per_step(watch.work),
        "peak": peak,
        "psnr": psnr(torch.from_numpy(done.images[:, 0, 0]).movedim(-1, -3).float() / 255, images[:, 0]),
        "record": {key: value for key, value in done.record.items() if isinstance(value, str | int | float)},
    }


def flops(asked: dict[str, Any]) -> dict[str, Any]:
    """Parameters, and operations that one image-step of our form executes: each multiplication and addition counts."""
    from core.attacks.costs import cosine_distance

    observation, _ = observation_of({**asked, "images": 1, "device": "cpu"})
    problems = set_up(observation, 1)
    targets = torch.nn.functional.one_hot(observation.labels, observation.spec.num_classes).float()
    with FlopCounterMode(display=False) as counter:
        step(
            lambda images, rows: problems.matching(cosine_distance, images, targets[rows], rows),
            torch.randn(1, *problems.image_shape),
            torch.arange(1),
        )
    parameters = sum(gradient[0].numel() for gradient in observation.gradients.values())
    return {"flops": counter.get_total_flops(), "parameters": parameters}


def psnr(images: torch.Tensor, originals: torch.Tensor) -> float:
    """Median over the first SCORED images of 10 log10(1 / MSE), both (N, C, H, W) in [0, 1]."""
    error = (images[:SCORED] - originals[:SCORED]).square().flatten(1).mean(1)
    return float((-10 * torch.log10(error)).median())


def matmul(asked: dict[str, Any]) -> dict[str, Any]:
    """FLOP/s of a large matrix product: what this device does at its best, in each precision that it has."""
    device = torch.device(asked["device"])
    size = 8192 if device.type == "cuda" else 2048
    found = {}
    clock = time.perf_counter if device.type == "cuda" or asked["threads"] > 1 else time.process_time
    for mode in ("float32", "tf32", "bf16") if device.type == "cuda" else ("float32",):
        torch.backends.cuda.matmul.fp32_precision = "tf32" if mode == "tf32" else "ieee"
        kind = torch.bfloat16 if mode == "bf16" else torch.float32
        a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
        best = float("inf")
        for _ in range(6):
            began = clock()
            float((a @ b)[0, 0])
            best = min(best, clock() - began)
        found[mode] = 2 * size**3 / best
    return found


def main() -> None:
    """Compute what was asked and print it."""
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    work = {"ours": ours, "flops": flops, "matmul": matmul}[asked["what"]]
    print(json.dumps(work(asked)))


if __name__ == "__main__":
    main()
