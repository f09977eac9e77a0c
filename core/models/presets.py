"""Models that are there from the start. Imports no torch: pages list presets from here.

The untrained ones draw their weights from a seed. The trained ones tell faces from other crops; their weights, and the
record of how they were trained, lie in assets/models.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.spec import ModelSpec
from core.registry import look_up, register

MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"
CLASSES = 10  # of an untrained preset

FACE_SPECS: dict[str, ModelSpec] = {  # without their weights: what benchmarks/train_faces.py starts from
    "lenet-faces": ModelSpec("lenet", num_classes=2, class_names=("not a face", "face"), origin="preset lenet-faces"),
    "convnet-faces": ModelSpec(
        "convnet",
        num_classes=2,
        arguments={"base": 8},
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        class_names=("not a face", "face"),
        origin="preset convnet-faces",
    ),
}
SUMMARIES = {
    "lenet": "The sigmoid LeNet of DLG, untrained.",
    "mlp": "One hidden layer of 256 sigmoids, untrained.",
    "convnet": "ConvNet as in Inverting Gradients, untrained.",
    "convnet-narrow": "ConvNet an eighth as wide, untrained: fast on a CPU.",
    "resnet20-4": "ResNet20, four times as wide, untrained.",
    "convnet-gn": "ConvNet with GroupNorm for BatchNorm, as DP-SGD needs it, untrained.",
    "resnet20-4-gn": "ResNet20-4 with GroupNorm for BatchNorm, as DP-SGD needs it, untrained.",
    "vit-tiny": "Vision transformer of DeiT's tiny size on 4×4 patches, untrained.",
    "resnet18-cifar": "ResNet18 with a stem for small images, untrained.",
    "resnet34-cifar": "ResNet34 with a stem for small images, untrained.",
    "resnet50-cifar": "ResNet50 with a stem for small images, untrained.",
    "resnet18-cifar-gn": "ResNet18 with a stem for small images and GroupNorm, as DP-SGD needs it, untrained.",
    "densenet121-cifar": "DenseNet121 with a stem for small images, untrained.",
    "vgg16-cifar": "VGG16 with BatchNorm and one linear layer, untrained.",
    "mobilenet-v2-cifar": "MobileNet v2 with a stem for small images, untrained.",
    "lenet-faces": "LeNet trained to tell faces from other crops (held-out accuracy {accuracy:.0%}).",
    "convnet-faces": "Narrow ConvNet trained to tell faces from other crops (held-out accuracy {accuracy:.0%}).",
}

PRESETS: dict[str, ModelSpec] = {}


def training_record() -> dict[str, Any]:
    """How the trained presets were made: command, split, accuracy, checksums (assets/models/faces.json)."""
    record: dict[str, Any] = json.loads((MODELS / "faces.json").read_text(encoding="utf-8"))
    return record


def preset_weights(name: str) -> bytes | None:
    """The safetensors bytes that come with a preset, or None when its weights are drawn from the seed.

    Raises UserError for an unknown preset, and when the file is missing or is not the one that was trained.
    """
    spec = look_up(PRESETS, name, "preset")
    if not spec.weights_sha256:
        return None
    path = MODELS / f"{name}.safetensors"
    if not path.is_file():
        raise UserError(f"The weights of {name} are missing from assets/models; restore {path.name}.")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != spec.weights_sha256:
        raise UserError(f"The weights of {name} were changed; restore {path.name} or train the preset again.")
    return data


def preset_summary(name: str) -> str:
    """One sentence about a preset, for people."""
    look_up(PRESETS, name, "preset")
    accuracy = training_record()["models"].get(name, {}).get("held_out_accuracy", 0.0)
    return SUMMARIES[name].format(accuracy=accuracy)


def _register_presets() -> None:
    for name, architecture, arguments in (
        ("lenet", "lenet", {}),
        ("mlp", "mlp", {"hidden": [256], "activation": "sigmoid"}),
        ("convnet", "convnet", {"base": 64}),
        ("convnet-narrow", "convnet", {"base": 8}),
        ("resnet20-4", "resnet20-4", {"base": 64}),
        ("convnet-gn", "convnet-gn", {"base": 64}),
        ("resnet20-4-gn", "resnet20-4-gn", {"base": 64}),
        ("vit-tiny", "vit-tiny", {"patch": 4, "width": 192, "depth": 12, "heads": 3}),
        ("resnet18-cifar", "resnet18-cifar", {"base": 64}),
        ("resnet34-cifar", "resnet34-cifar", {"base": 64}),
        ("resnet50-cifar", "resnet50-cifar", {"base": 64}),
        ("resnet18-cifar-gn", "resnet18-cifar-gn", {"base": 64}),
        ("densenet121-cifar", "densenet121-cifar", {"growth": 32}),
        ("vgg16-cifar", "vgg16-cifar", {"base": 64}),
        ("mobilenet-v2-cifar", "mobilenet-v2-cifar", {"base": 32}),
    ):
        spec = ModelSpec(architecture, CLASSES, arguments=dict[str, Any](arguments), origin=f"preset {name}")
        register(PRESETS, name, spec)
    for name, record in training_record()["models"].items():
        register(PRESETS, name, replace(FACE_SPECS[name], weights_sha256=record["sha256"]))


_register_presets()
