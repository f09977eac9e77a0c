"""What a victim's last layer takes: its features, whatever its architecture."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def head_features(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function of normalised images (N, C, H, W) that gives (N, D): what the model's last layer is called with.

    The last layer is the last one in the order of the forward that has parameters of its own, a Linear in most
    architectures and a 1×1 convolution in SqueezeNet; what it takes is flattened from the second dimension on. It is
    found on the first call and asked again each time. RuntimeError for a model whose forward calls no such layer.
    """
    found: list[nn.Module] = []

    def features(images: Tensor) -> Tensor:
        if not found:
            found.append(_last_layer(model, images[:1]))
        return _input_of(found[0], model, images).flatten(1)

    return features


def _last_layer(model: nn.Module, image: Tensor) -> nn.Module:
    """The last layer with parameters of its own that a forward of this image calls."""
    called: list[nn.Module] = []
    with_parameters = [part for part in model.modules() if next(part.parameters(recurse=False), None) is not None]
    hooks = [part.register_forward_pre_hook(lambda part, _: called.append(part)) for part in with_parameters]
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    # a module with parameters of its own may hold others (a ViT its class token): those are no layers
    layers = [part for part in called if not any(child in called for child in part.children())]
    if not layers:
        raise RuntimeError(f"{type(model).__name__} calls no layer with parameters, so it has no last one.")
    return layers[-1]


def _input_of(layer: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    """What `layer` is called with, the last time, when the model sees these images."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        kept[:] = [torch.as_tensor(arguments[0])]

    hook = layer.register_forward_pre_hook(keep)
    try:
        model(images)
    finally:
        hook.remove()
    return kept[0]
