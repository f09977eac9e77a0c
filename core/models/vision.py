"""torchvision's classification models, made fit for attack: any channels and size they can take, nothing in place."""

from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.models.spec import ModelSpec


class MathAttention(nn.MultiheadAttention):
    """Attention by the math kernel: the fused ones have no double backward on CPU. Same weights, same numbers."""

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """As nn.MultiheadAttention."""
        with sdpa_kernel(SDPBackend.MATH):
            result: tuple[Tensor, Tensor | None] = super().forward(*args, **kwargs)
        return result


def build_vision(spec: ModelSpec) -> nn.Module:
    """Build the torchvision model that spec.architecture names; weights are torchvision's own untrained draw.

    Layers that work in place do so no longer, dropout and stochastic depth are gone, and the first convolution
    takes spec.channels.
    """
    from torchvision import models

    arguments: dict[str, Any] = {"weights": None, "num_classes": spec.num_classes}
    if spec.architecture.startswith("vit_"):
        arguments["image_size"] = spec.height
    if spec.architecture.startswith("maxvit_"):
        arguments["input_size"] = (spec.height, spec.width)
    if spec.architecture in ("googlenet", "inception_v3"):
        arguments |= {"aux_logits": False, "init_weights": True}
    model: nn.Module = models.get_model(spec.architecture, **arguments)
    if spec.channels != 3:
        _take_channels(model, spec.channels)
    tame(model)
    return model


def _take_channels(model: nn.Module, channels: int) -> None:
    """Replace the first convolution (the one that sees 3 channels) by one for `channels`."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            first = nn.Conv2d(
                channels,
                layer.out_channels,
                layer.kernel_size,  # type: ignore[arg-type]
                stride=layer.stride,  # type: ignore[arg-type]
                padding=layer.padding,  # type: ignore[arg-type]
                bias=layer.bias is not None,
            )
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, first)
            return


def tame(module: nn.Module) -> None:
    """Out of place, without dropout, attention by the math kernel; all below `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout) or type(child).__name__ == "StochasticDepth":
            setattr(module, name, nn.Identity())
            continue
        if type(child) is nn.MultiheadAttention:
            child.__class__ = MathAttention
            child.dropout = 0.0
        if "inplace" in vars(child):
            vars(child)["inplace"] = False
        tame(child)
