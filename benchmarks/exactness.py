"""How each architecture's per-problem gradients are computed, and how far they are from plain double backward.

    python -m benchmarks.exactness [NAME …] [--batch 1] [--mode eval|train] [--size 1]

Two random updates at the smallest size that is at least --size, weights as drawn plus a little noise (some layers begin
at zero). The cost is the sum of squares of all gradients; the table gives its derivative's relative error in float64
and float32 against `torch.autograd.grad` twice, layer by layer of torch's own, one update after another, in float64;
beside them the error of that very definition in float32 (a ReLU or a maximum within rounding of a tie falls either
way).
"""

import argparse
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.attacks.gradients import frozen_copy, gradient_field
from core.models.build import build_model
from core.models.catalogue import CATALOGUE
from core.models.spec import ModelSpec

CLASSES = 10


def build(name: str, size: int, mode: str, batch: int) -> tuple[nn.Module, ModelSpec]:
    """The architecture at the smallest size that it takes, size or more, with every weight moved a little."""
    known = CATALOGUE[name]
    least = known.training_minimum if mode == "train" and batch == 1 else known.minimum_size
    side = -(-max(size, least) // known.multiple) * known.multiple
    spec = ModelSpec(name, CLASSES, height=side, width=side)
    model, draw = build_model(spec), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=draw), alpha=0.1 / max(1, weight[:1].numel()) ** 0.5)
    return model, spec


def by_definition(model: nn.Module, images: Tensor, targets: Tensor) -> list[Tensor]:
    """One (P, *shape) a parameter, by torch's own layers, one problem after another."""
    parameters = list(model.parameters())
    rows = [
        torch.autograd.grad(
            F.cross_entropy(model(image), target), parameters, create_graph=True, materialize_grads=True
        )
        for image, target in zip(images, targets, strict=True)
    ]
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def derivative(gradients: Callable[[Tensor, Tensor], list[Tensor]], images: Tensor, targets: Tensor) -> Tensor:
    """Of Σ g² with respect to the images."""
    moving = images.clone().requires_grad_(True)
    cost = torch.stack([g.square().sum() for g in gradients(moving, targets)]).sum()
    return torch.autograd.grad(cost, moving)[0].double()


def compare(name: str, size: int, mode: str, batch: int) -> str:
    """One row of the table."""
    model, spec = build(name, size, mode, batch)
    shape = (batch, spec.channels, spec.height, spec.width)
    draw = torch.Generator().manual_seed(0)
    images = torch.randn((2, *shape), generator=draw, dtype=torch.float64)
    targets = torch.randn((2, batch, CLASSES), generator=draw, dtype=torch.float64).softmax(-1)
    plain = frozen_copy(model, mode).double().requires_grad_(True)  # type: ignore[arg-type]
    right = derivative(lambda x, t: by_definition(plain, x, t), images, targets)
    errors, path, began = [], "", time.perf_counter()
    for dtype in (torch.float64, torch.float32):
        victim = model.to(dtype)
        names = [key for key, _ in victim.named_parameters()]
        field = gradient_field(victim, names, mode, shape, CLASSES)  # type: ignore[arg-type]
        path = path or field.path
        ours = derivative(lambda x, t, form=field.evaluate: form(x, t)[0], images.to(dtype), targets.to(dtype))  # type: ignore[misc]
        errors.append(float((ours - right).norm() / right.norm()))
    seconds = time.perf_counter() - began
    rough = frozen_copy(model, mode).float().requires_grad_(True)  # type: ignore[arg-type]
    theirs = derivative(lambda x, t: by_definition(rough, x, t), images.float(), targets.float())
    errors.append(float((theirs - right).norm() / right.norm()))
    return f"| {name} | {spec.height} | {path} | {' | '.join(f'{error:.0e}' for error in errors)} | {seconds:.1f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="architectures (default: all that can be attacked)")
    parser.add_argument("--batch", type=int, default=1, help="images an update")
    parser.add_argument("--mode", choices=("eval", "train"), default="eval", help="BatchNorm")
    parser.add_argument("--size", type=int, default=1, help="px, or the least that the model takes")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")  # torchvision's words about sizes that a scripted attention would not take
    print("| architecture | px | gradients | float64 | float32 | definition in float32 | seconds |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for name in arguments.names or [name for name, known in CATALOGUE.items() if not known.refused]:
        print(compare(name, arguments.size, arguments.mode, arguments.batch), flush=True)


if __name__ == "__main__":
    main()
