"""torchvision's ImageNet weights as the start of a training: what is published, where it is found, what fits a spec.

Looked for as SEMSIGHT_WEIGHTS/NAME-imagenet.safetensors, then in torch's cache under the published name (converted
once), then, only when asked, downloaded; the published name ends with the first digits of the file's sha256, which is
checked. The records lie in assets/weights/torchvision.json (`python -m benchmarks.pretrained_table`). Imports no torch
until weights are asked for: `doctor` and pages ask here what there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.models.catalogue import CATALOGUE, check_spec
from core.models.spec import ModelSpec
from core.models.weights import FoundWeights, MissingWeights, WeightsRecord, check_file
from core.registry import register
from core.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

TABLE = Path(__file__).resolve().parents[2] / "assets" / "weights" / "torchvision.json"
CLASSES = 1000  # of ImageNet-1k, in torchvision's order
Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True)
class Pretrained:
    """ImageNet weights that torchvision publishes for one of its models."""

    architecture: str
    url: str  # its file's name ends with the first 8 hex digits of the file's sha256
    mebibytes: int
    licence: str  # and what it was trained on
    size: int  # px of the images that it was trained on, height and width
    mean: tuple[float, ...]  # of its normalisation, (x - mean) / std for x in [0, 1]
    std: tuple[float, ...]

    @property
    def file(self) -> str:
        """The published file's name; torch's cache keeps it by that name."""
        return self.url.rpartition("/")[2]

    @property
    def sha256(self) -> str:
        """The first digits of the file's sha256, as its name tells them."""
        return self.file.rpartition(".")[0].rpartition("-")[2]

    @property
    def name(self) -> str:
        """What the converted file is called under SEMSIGHT_WEIGHTS, without its ending."""
        return f"{self.architecture}-imagenet"


PRETRAINED: dict[str, Pretrained] = {}  # by architecture


def pretrained_of(architecture: str) -> Pretrained:
    """The record of an architecture's ImageNet weights; UserError where torchvision publishes none."""
    record = PRETRAINED.get(architecture)
    if record is None:
        title = CATALOGUE[architecture].title if architecture in CATALOGUE else architecture
        raise UserError(
            f"No ImageNet weights are published for {title}; choose one of torchvision's models, such as resnet18, "
            "or start from drawn weights."
        )
    return record


def where_found(architecture: str, settings: Settings) -> Path | None:
    """The file that `pretrained_state` would read, by its name alone: converted, or in torch's cache; or None."""
    record = pretrained_of(architecture)
    places = [settings.weights / f"{record.name}.safetensors"]
    if settings.torch_cache is not None:
        places.append(settings.torch_cache / record.file)
    return next((path for path in places if path.is_file()), None)


def pretrained_state(
    spec: ModelSpec, settings: Settings, download: bool = False, *, progress: Progress | None = None
) -> dict[str, Tensor]:
    """A state dict for `build_model(spec)` with the ImageNet weights that torchvision publishes; never drawn instead.

    With 1000 classes the head is ImageNet's; with any other number it is drawn from spec.init_seed, as an untrained
    model's is. BatchNorm keeps its running statistics. Tensors are float32 (counters int64) on the CPU.
    progress(bytes so far, all bytes if known) is called while downloading. Raises UserError when there are no weights
    ("unavailable: …", with how to get them), when the file is not the published one, and when they do not fit the
    spec: another number of channels, or an image size that the architecture is built for.
    """
    check_spec(spec)
    record = pretrained_of(spec.architecture)
    if spec.channels != 3:
        raise UserError(
            f"ImageNet weights take colour images of 3 channels, not {spec.channels}; "
            "give the model 3 channels (grey images are repeated), or start from drawn weights."
        )
    found = find_pretrained(spec.architecture, settings, download=download, progress=progress)
    if isinstance(found, MissingWeights):
        raise UserError(f"unavailable: {found.reason}")
    return _fit(spec, found.path, record)


def find_pretrained(
    architecture: str, settings: Settings, *, download: bool = False, progress: Progress | None = None
) -> FoundWeights | MissingWeights:
    """Look for an architecture's ImageNet weights as `core.models.weights.find_weights` does; imports torch.

    Raises UserError only where none are published.
    """
    from core.models import weights_intake

    record = pretrained_of(architecture)
    path = settings.weights / f"{record.name}.safetensors"
    wanted = _wanted(record)
    try:
        if path.is_file():
            return check_file(path, wanted)
        cached = where_found(record.architecture, settings)
        if cached is not None:
            weights_intake.convert(cached, path, wanted)
            return check_file(path, wanted)
        if download:
            weights_intake.download(path, wanted, None, progress)
            return check_file(path, wanted)
    except (UserError, OSError) as error:
        return MissingWeights(f"{wanted.title}: {error}")
    return MissingWeights(
        f"{wanted.title}: there is no {path.name} under SEMSIGHT_WEIGHTS and no {record.file} in torch's cache; "
        f"fetch it (python -m core doctor --pretrained {record.architecture}: {record.mebibytes} MiB), or put "
        f"{record.url} into torch's cache."
    )


def _wanted(record: Pretrained) -> WeightsRecord:
    """The record in the words of the intake: names and shapes are those of the model that torchvision builds."""
    from core.models.build import build_skeleton

    spec = ModelSpec(record.architecture, CLASSES, height=record.size, width=record.size)
    state = build_skeleton(spec).state_dict()
    return WeightsRecord(
        record.name,
        f"ImageNet weights of {record.architecture}",
        {key: tuple(tensor.shape) for key, tensor in state.items() if tensor.is_floating_point()},
        record.url,
        record.sha256,
        record.licence,
        record.mebibytes,
        layout="strict",
    )


def _fit(spec: ModelSpec, path: Path, record: Pretrained) -> dict[str, Tensor]:
    """The file's tensors; the head, and whole numbers, are those of an untrained model of the spec.

    Whole numbers are BatchNorm's counters, which older files lack and nothing here uses, and tables of positions.
    """
    from core.models.build import build_model, load_weights

    drawn = build_model(replace(spec, weights_sha256="")).state_dict()
    published = load_weights(path)
    head = set() if spec.num_classes == CLASSES else _head(spec)
    state = {}
    for key, tensor in drawn.items():
        if key in head or not tensor.is_floating_point():
            state[key] = tensor.clone()
        elif published[key].shape == tensor.shape:
            state[key] = published[key]
        else:
            raise UserError(
                f"ImageNet weights of {spec.architecture} are for images of {record.size}×{record.size} pixels "
                f"({key} has shape {tuple(published[key].shape)}, and at {spec.width}×{spec.height} the model needs "
                f"{tuple(tensor.shape)}); choose that size, another architecture, or drawn weights."
            )
    return state


def _head(spec: ModelSpec) -> set[str]:
    """Names of the tensors whose shape follows the number of classes."""
    from core.models.build import build_skeleton

    some, more = (
        build_skeleton(replace(spec, num_classes=count, class_names=(), weights_sha256="")).state_dict()
        for count in (10, 11)
    )
    return {key for key in some if some[key].shape != more[key].shape}


def _register() -> None:
    for name, fields in json.loads(TABLE.read_text(encoding="utf-8")).items():
        fields |= {"mean": tuple(fields["mean"]), "std": tuple(fields["std"])}
        register(PRETRAINED, name, Pretrained(name, **fields))


_register()
