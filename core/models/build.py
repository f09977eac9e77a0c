"""From a ModelSpec to a torch module that can be attacked, and back to words for the page."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.errors import UserError
from core.models.architectures import ARCHITECTURES, draw_weights
from core.models.catalogue import IMPRINT, arguments_of, check_spec, inner_spec
from core.models.imprint import Imprint
from core.models.spec import ModelSpec
from core.models.vision import build_vision

_GLOBAL_GENERATOR = threading.Lock()


@dataclass(frozen=True)
class Layer:
    """One leaf layer of a model, as the page shows it."""

    name: str  # path within the model, e.g. "body.0"
    kind: str  # class name, e.g. "Conv2d"
    shape: str  # of its weight, e.g. "12×3×5×5"; "" without one
    parameters: int


@dataclass(frozen=True)
class ModelDescription:
    """A model's leaf layers in order, and how many numbers they hold."""

    layers: tuple[Layer, ...]
    parameters: int


def build_model(spec: ModelSpec, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Build the model on the CPU: float32, eval mode, nothing in place, no dropout, every parameter trainable.

    weights is a state dict that must fit name by name and shape by shape. Without it the weights are drawn from
    spec.init_seed by the architecture's own rule, which needs spec.weights_sha256 to be empty. The global random
    state is left as it was. The forward takes normalised images (N, channels, height, width) and gives
    (N, num_classes). Raises UserError for a spec that cannot be built and for weights that do not fit.
    """
    check_spec(spec)
    if weights is None and (spec.weights_sha256 or spec.architecture == IMPRINT):
        raise UserError(f"The model {spec.origin or spec.architecture!r} needs its weights, and none were given.")
    module = _construct(spec)
    if weights is None:
        if spec.architecture in ARCHITECTURES:
            draw_weights(spec.architecture, module, torch.Generator().manual_seed(spec.init_seed))
    else:
        _load_strictly(module, weights)
    return module.float().eval().requires_grad_(True)


def build_skeleton(spec: ModelSpec, *, check: bool = True) -> nn.Module:
    """The same module on the meta device: names, shapes and dtypes, but no numbers. Raises UserError as build_model.

    check=False builds what check_spec refuses, to measure what it should refuse.
    """
    if check:
        check_spec(spec)
    with _NumbersElsewhere():
        return _construct(spec).to("meta").float().eval()


def describe(model: nn.Module) -> ModelDescription:
    """Leaf layers with their weight's shape and size, and the number of parameters (buffers not counted)."""
    layers = [_layer(name, module) for name, module in model.named_modules() if not list(module.children())]
    return ModelDescription(tuple(layers), sum(parameter.numel() for parameter in model.parameters()))


def load_weights(source: bytes | Path) -> dict[str, Tensor]:
    """Read a state dict from safetensors bytes or a file; raise UserError if it is not safetensors."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        weights: dict[str, Tensor] = load_safetensors(data)
    except SafetensorError as error:
        raise UserError(f"The weights are no readable safetensors file ({error}); export them again.") from error
    return weights


class _NumbersElsewhere(TorchFunctionMode):
    """Parameters are made on the meta device. torch.device("meta") also catches the sums that RegNet's shape needs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.empty, torch.zeros, torch.ones) and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _construct(spec: ModelSpec) -> nn.Module:
    if spec.architecture == IMPRINT:
        inner = _construct(inner_spec(spec))
        with _own_random_state(spec.init_seed):
            return Imprint(inner, spec.channels * spec.height * spec.width, spec.arguments["bins"])
    with _own_random_state(spec.init_seed):
        if spec.architecture in ARCHITECTURES:
            make = ARCHITECTURES[spec.architecture]
            return make(spec.channels, spec.height, spec.width, spec.num_classes, **arguments_of(spec))
        return build_vision(spec)


@contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    # torch draws weights from the global generator while it constructs layers: seed it, and put it back after.
    with _GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _load_strictly(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or extra:
        raise UserError(
            f"The weights do not fit the architecture: {_some(missing)} missing, {_some(extra)} unknown; "
            "choose the architecture that they were trained with."
        )
    for name, tensor in wanted.items():
        if weights[name].shape != tensor.shape:
            raise UserError(
                f"The weight {name} has shape {tuple(weights[name].shape)}, but the architecture needs "
                f"{tuple(tensor.shape)}; check the number of classes, the channels and the image size."
            )
    module.load_state_dict(dict(weights), strict=True)


def _some(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(name[:60] for name in names[:3])})" if names else "none"


def _layer(name: str, module: nn.Module) -> Layer:
    weight = getattr(module, "weight", None)
    shape = "×".join(map(str, weight.shape)) if isinstance(weight, Tensor) else ""
    return Layer(name, type(module).__name__, shape, sum(p.numel() for p in module.parameters(recurse=False)))
