"""Image-steps per second of the shared engine: `python -m benchmarks.attacks [--models lenet] [--images 1 8 32]`.

One image-step is one step of Inverting Gradients (forward, gradient, cost, double backward, Adam) on one image.
"""

import argparse
import datetime
import platform
import time

import torch

from core.attacks.descent import Descent
from core.attacks.engine import draw, set_up
from core.attacks.inverting import InvertingConfig
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe
from core.models.build import build_model
from core.models.presets import PRESETS


def measure(name: str, images: int, seconds: float, device: torch.device) -> tuple[float, str]:
    """Image-steps per second over at least `seconds` after a warm-up, and the engine's path."""
    spec = PRESETS[name]
    shape = (spec.channels, spec.height, spec.width)
    pixels = torch.randint(0, 256, (images, 1, *shape), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(images)[:, None] % spec.num_classes
    observation, _ = observe(
        build_model(spec).to(device), spec, pixels.to(device).float() / 255, labels.to(device), ThreatModel()
    )
    descent = Descent(set_up(observation, 1), InvertingConfig(decay=False), labels.to(device))
    descent.begin(draw("normal", 0, range(images), 1, pixels[0].numel()).reshape(-1, 1, *shape).to(device))
    descent.step(0)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds or done < 2:
        descent.step(done + 1)
        done += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return images * done / (time.perf_counter() - began), descent.problems.field.path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["lenet", "convnet-narrow", "convnet"])
    parser.add_argument("--images", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=3.0, help="at least so long a cell")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    print(f"{datetime.date.today()}, {hardware}, {arguments.threads} threads, torch {torch.__version__}, float32")
    print("| model | images at once | image-steps / s | gradients |\n| --- | ---: | ---: | --- |")
    for name in arguments.models:
        for images in arguments.images:
            rate, path = measure(name, images, arguments.seconds, device)
            print(f"| {name} | {images} | {rate:.1f} | {path} |", flush=True)


if __name__ == "__main__":
    main()
