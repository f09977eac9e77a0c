"""Models that are there from the start. Imports no torch: pages list presets from here."""

from core.models.spec import ModelSpec
from core.registry import register

PRESETS: dict[str, ModelSpec] = {}

for _name, _architecture, _arguments in (
    ("lenet", "lenet", {}),
    ("mlp", "mlp", {}),
    ("convnet", "convnet", {}),
    ("convnet-narrow", "convnet", {"base": 8}),
    ("resnet20-4", "resnet20-4", {}),
):
    register(
        PRESETS,
        _name,
        ModelSpec(_architecture, num_classes=10, arguments=dict(_arguments), origin=f"preset {_name}"),
    )


def preset_weights(name: str) -> bytes | None:
    """The safetensors bytes that come with a preset, or None when its weights are drawn from the seed."""
    return None
