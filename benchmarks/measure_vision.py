"""Measure what core/models/vision_table.py says: `python -m benchmarks.measure_vision [--double] [NAME …]`.

For each torchvision model: the smallest square image at which a forward runs (eval mode; and with BatchNorm in train
mode on one image), found on the meta device. With --double also the second derivative: of the squared norm of the
weights' gradient along a random direction of the image, by autograd and by a central difference in float64. (Untrained
ReLU networks have kinks, so a single difference may be off; an error or a zero is what to look for.)
"""

import argparse
import warnings

import torch
from torch import nn

from core.models.build import build_skeleton
from core.models.catalogue import CATALOGUE
from core.models.spec import ModelSpec
from core.models.vision import build_vision

LARGEST = 128  # px: any of them but maxvit_t runs at this size


def runs(name: str, size: int, *, train: bool) -> bool:
    """True when one image of this size goes through; never mind what check_spec would say."""
    spec = ModelSpec(name, 10, height=size, width=size)
    try:
        with torch.no_grad():
            module = build_skeleton(spec, check=False).train(train)
            return tuple(module(torch.empty(1, 3, size, size, device="meta")).shape) == (1, 10)
    except (RuntimeError, ValueError, TypeError, AssertionError):  # whatever a model says to a size it cannot take
        return False


def least_size(name: str, *, train: bool) -> int:
    """The smallest size that runs; sizes must be a multiple of what the catalogue says."""
    step = CATALOGUE[name].multiple
    low, high = 0, max(LARGEST // step, 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(name, middle * step, train=train) else (middle, high)
    return high * step


def second_derivative(name: str, size: int, *, train: bool, epsilon: float = 1e-6) -> tuple[float, float]:
    """(autograd, central difference) of d/dt |gradient of the weights|² at image + t · direction, float64."""
    generator = torch.Generator().manual_seed(0)
    module = build_vision(ModelSpec(name, 10, height=size, width=size)).double().train(train)
    image = torch.rand(2, 3, size, size, dtype=torch.float64, generator=generator)
    direction = torch.randn(image.shape, dtype=torch.float64, generator=generator)
    parameters = list(module.parameters())

    def squared_norm(x: torch.Tensor, create_graph: bool) -> torch.Tensor:
        loss = nn.functional.cross_entropy(module(x), torch.tensor([1, 2]))
        return sum((g**2).sum() for g in torch.autograd.grad(loss, parameters, create_graph=create_graph))

    x = image.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(squared_norm(x, True), x)
    ahead, behind = (squared_norm(image + sign * epsilon * direction, False) for sign in (1, -1))
    return float((gradient * direction).sum()), float((ahead - behind) / (2 * epsilon))


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="models (default: every one of torchvision's)")
    parser.add_argument("--double", action="store_true", help="also the second derivative (slow for large models)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in arguments.names or [name for name, known in CATALOGUE.items() if not known.own]:
        least, training = least_size(name, train=False), least_size(name, train=True)
        line = f"{name}: runs from {least} px, in train mode from {training} px"
        if arguments.double:
            try:
                step = CATALOGUE[name].multiple
                size = -(-max(least, training, 64) // step) * step
                exact, difference = second_derivative(name, size, train=False)
                line += f", second derivative {exact:.6g} (difference {difference:.6g})"
            except RuntimeError as error:
                line += f", no second derivative: {error}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
