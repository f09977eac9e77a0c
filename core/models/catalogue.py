"""Every architecture that can be audited, in words. Imports no torch: pages list architectures from here.

minimum_size: smallest height and width in pixels at which a forward and a backward run. training_minimum: the same
with BatchNorm in train mode on one image, where a layer that sees a single pixel has no variance.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import UserError
from core.models.spec import ModelSpec
from core.models.vision_table import VISION_FAMILIES
from core.registry import look_up, register

MAXIMUM_SIZE = 1024  # px; a larger input is a mistake, or needs a machine that no default fits
MAXIMUM_CLASSES = 100_000
IMPRINT = "imprint"  # nobody's choice and in no list: what the attack of this name builds around an architecture
MAXIMUM_BINS = 4096


@dataclass(frozen=True)
class Argument:
    """One keyword argument of an architecture: its default, and what it may be."""

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    minimum: int = 1
    maximum: int = 1
    divides: str = ""  # another argument, of which this one must be a divisor

    @property
    def wanted(self) -> str:
        """What the value may be, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        what = "a list of 1 to 8 whole numbers, each" if isinstance(self.default, list) else "a whole number"
        return f"{what} from {self.minimum} to {self.maximum}"

    def allows(self, value: object) -> bool:
        """True for a value that the architecture can be built with."""
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if not isinstance(self.default, list):
            return _is_whole(value) and self.minimum <= value <= self.maximum  # type: ignore[operator]
        return (
            isinstance(value, list | tuple)
            and 1 <= len(value) <= 8
            and all(_is_whole(number) and self.minimum <= number <= self.maximum for number in value)
        )


@dataclass(frozen=True)
class Architecture:
    """What is known of an architecture before it is built. `refused` is the reason why it cannot be attacked, or ""."""

    name: str
    title: str
    source: str
    minimum_size: int
    training_minimum: int
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    multiple: int = 1  # height and width must be a multiple of this
    square: bool = False  # takes square images only
    batchnorm: bool = False
    refused: str = ""

    @property
    def double_backward(self) -> bool:
        """True when the gradient of a gradient exists, which every gradient attack needs."""
        return not self.refused

    @property
    def own(self) -> bool:
        """True for SemSight's own architectures, False for torchvision's."""
        return not self.source.startswith("torchvision")


CATALOGUE: dict[str, Architecture] = {}


def arguments_of(spec: ModelSpec) -> dict[str, Any]:
    """The architecture's defaults with the spec's own arguments over them."""
    defaults = {name: argument.default for name, argument in CATALOGUE[spec.architecture].arguments.items()}
    return {**defaults, **spec.arguments}


def check_spec(spec: ModelSpec) -> Architecture:
    """Return the architecture of a spec that can be built; raise UserError saying what is wrong and what would do.

    For an imprint it is the architecture within.
    """
    if spec.architecture == IMPRINT:
        return check_spec(inner_spec(spec))
    architecture = look_up(CATALOGUE, spec.architecture, "architecture")
    if architecture.refused:
        raise UserError(f"{architecture.title} cannot be attacked: {architecture.refused}")
    if not _is_whole(spec.channels) or not 1 <= spec.channels <= 16:
        raise UserError(f"A model takes 1 to 16 channels (3 for colour, 1 for grey), not {spec.channels!r}.")
    _check_size(spec, architecture)
    if not _is_whole(spec.num_classes) or not 2 <= spec.num_classes <= MAXIMUM_CLASSES:
        raise UserError(f"A classifier needs 2 to {MAXIMUM_CLASSES:,} classes, not {spec.num_classes!r}; say how many.")
    for word, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) != spec.channels:
            raise UserError(f"The {word} has {len(values)} values for {spec.channels} channels; give one a channel.")
    if not all(0 < value < float("inf") for value in spec.std):
        raise UserError(f"Every std must be above 0, not {spec.std}.")
    if not all(abs(value) < float("inf") for value in spec.mean):
        raise UserError(f"Every mean must be a finite number, not {spec.mean}.")
    if spec.class_names and len(spec.class_names) != spec.num_classes:
        raise UserError(f"{len(spec.class_names)} class names came for {spec.num_classes} classes; give one each.")
    _check_arguments(spec, architecture)
    return architecture


def inner_spec(spec: ModelSpec) -> ModelSpec:
    """The model behind an imprint: `arguments` are inner, inner_arguments and bins. Raises UserError for others."""
    values = spec.arguments
    inner, arguments, bins = (values.get(name) for name in ("inner", "inner_arguments", "bins"))
    if (
        not isinstance(inner, str)
        or inner == IMPRINT
        or not isinstance(arguments, Mapping)
        or not isinstance(bins, int)
        or not 2 <= bins <= MAXIMUM_BINS
        or len(values) != 3
    ):
        raise UserError(
            f"An imprint has 2 to {MAXIMUM_BINS} bins in front of another model and is made by the attack of this "
            "name; choose the model, and the attack imprint."
        )
    return replace(spec, architecture=inner, arguments=dict(arguments))


def check_train_mode(spec: ModelSpec, batch_size: int) -> None:
    """Raise UserError when BatchNorm in train mode would see a single value a channel, which has no variance.

    Only an update of one image can; models without BatchNorm never do.
    """
    if spec.architecture == IMPRINT:
        spec = inner_spec(spec)
    architecture = CATALOGUE[spec.architecture]
    if batch_size == 1 and architecture.batchnorm and min(spec.height, spec.width) < architecture.training_minimum:
        least = architecture.training_minimum
        raise UserError(
            f"{architecture.title} with BatchNorm in train mode needs images of at least {least}×{least} pixels or "
            f"2 images an update, not one of {spec.width}×{spec.height}; or choose eval mode."
        )


def _check_size(spec: ModelSpec, architecture: Architecture) -> None:
    size = f"{spec.width}×{spec.height}"
    if not (_is_whole(spec.height) and _is_whole(spec.width)):
        raise UserError(f"Height and width must be whole numbers of pixels, not {size}.")
    if min(spec.height, spec.width) < architecture.minimum_size:
        least = architecture.minimum_size
        raise UserError(f"{architecture.title} needs images of at least {least}×{least} pixels, not {size}.")
    if max(spec.height, spec.width) > MAXIMUM_SIZE:
        raise UserError(
            f"Images may be at most {MAXIMUM_SIZE}×{MAXIMUM_SIZE} pixels, not {size}; choose a smaller size."
        )
    if architecture.square and spec.height != spec.width:
        raise UserError(f"{architecture.title} takes square images, not {size}.")
    if spec.height % architecture.multiple or spec.width % architecture.multiple:
        raise UserError(
            f"{architecture.title} needs a height and width that {architecture.multiple} divides, not {size}."
        )


def _check_arguments(spec: ModelSpec, architecture: Architecture) -> None:
    if spec.arguments and not architecture.arguments:
        raise UserError(f"{architecture.title} takes no arguments, but {', '.join(spec.arguments)} came; leave it out.")
    for name, value in spec.arguments.items():
        argument = look_up(architecture.arguments, name, f"argument of {architecture.title}")
        if not argument.allows(value):
            raise UserError(f"{name} of {architecture.title} must be {argument.wanted}, not {str(value)[:80]!r}.")
    values = arguments_of(spec)
    for argument in architecture.arguments.values():
        if argument.divides and values[argument.divides] % values[argument.name]:
            raise UserError(
                f"{argument.name} of {architecture.title} must divide its {argument.divides}, "
                f"but {values[argument.divides]} is no multiple of {values[argument.name]}."
            )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _base(default: int = 64, help_text: str = "") -> dict[str, Argument]:
    help_text = help_text or "Channels of the first stage; the later ones are 2 and 4 times as wide."
    return {"base": Argument("base", default, help_text, minimum=1, maximum=512)}


def _transformer() -> dict[str, Argument]:
    arguments = (
        Argument("patch", 4, "Side of a patch in pixels; one patch is one token.", maximum=64),
        Argument("width", 192, "Numbers of a token.", maximum=2048),
        Argument("depth", 12, "Transformer blocks.", maximum=48),
        Argument("heads", 3, "Attention heads; they share the width evenly.", maximum=64, divides="width"),
    )
    return {argument.name: argument for argument in arguments}


def _register_own() -> None:
    hidden = Argument("hidden", [256], "Sizes of the hidden layers.", minimum=1, maximum=8192)
    activation = Argument(
        "activation", "sigmoid", "What follows each hidden layer.", choices=("sigmoid", "relu", "tanh")
    )
    for architecture in (
        Architecture("lenet", "LeNet (DLG, sigmoid)", "DLG, arXiv 1906.08935", 4, 4),
        Architecture("mlp", "MLP", "SemSight", 1, 1, {"hidden": hidden, "activation": activation}),
        Architecture("convnet", "ConvNet", "Inverting Gradients, arXiv 2003.14053", 9, 9, _base(), batchnorm=True),
        Architecture("resnet20-4", "ResNet20-4", "arXiv 1512.03385, 4 × as wide", 4, 5, _base(), batchnorm=True),
        Architecture("convnet-gn", "ConvNet with GroupNorm", "ConvNet for DP-SGD, arXiv 1803.08494", 9, 9, _base()),
        Architecture(
            "resnet20-4-gn", "ResNet20-4 with GroupNorm", "ResNet20-4 for DP-SGD, arXiv 1803.08494", 4, 4, _base()
        ),
        Architecture("vit-tiny", "ViT tiny", "arXiv 2010.11929, in the size of 2012.12877", 1, 1, _transformer()),
    ):
        register(CATALOGUE, architecture.name, architecture)


def _register_cifar() -> None:
    """What core/models/cifar_stems.py builds."""
    each = "Channels of the first stage; each later one is twice as wide."
    growth = Argument("growth", 32, "Channels that each layer adds; the stem has twice as many.", maximum=128)
    residual, stem = "arXiv 1512.03385, stem of stride 1", "Channels of the stem; 32 is the published width."
    for architecture in (
        Architecture("resnet18-cifar", "ResNet18, CIFAR stem", residual, 1, 9, _base(64, each), batchnorm=True),
        Architecture("resnet34-cifar", "ResNet34, CIFAR stem", residual, 1, 9, _base(64, each), batchnorm=True),
        Architecture("resnet50-cifar", "ResNet50, CIFAR stem", residual, 1, 9, _base(64, each), batchnorm=True),
        Architecture(
            "resnet18-cifar-gn", "ResNet18 with GroupNorm, CIFAR stem", f"{residual}, for DP-SGD", 1, 1, _base(64, each)
        ),
        Architecture(
            "densenet121-cifar", "DenseNet121, CIFAR stem", "arXiv 1608.06993, stem of stride 1", 8, 16,
            {"growth": growth}, batchnorm=True,
        ),
        Architecture(
            "vgg16-cifar", "VGG16, one linear layer", "arXiv 1409.1556 with BatchNorm", 32, 32, _base(64, each),
            batchnorm=True,
        ),
        Architecture(
            "mobilenet-v2-cifar", "MobileNet v2, CIFAR stem", "arXiv 1801.04381, two strides of 2 left out", 1, 9,
            _base(32, stem), batchnorm=True,
        ),
    ):  # fmt: skip
        register(CATALOGUE, architecture.name, architecture)


def _register_vision() -> None:
    for family in VISION_FAMILIES:
        for name in family.names.split():
            details = family._asdict()
            del details["names"]
            register(CATALOGUE, name, Architecture(name=name, title=name, source="torchvision", **details))


_register_own()
_register_cifar()
_register_vision()
