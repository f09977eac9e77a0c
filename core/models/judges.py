"""Independent classifiers that judge reconstructions: what a judge is, and which ones there are.

A judge is NAME.json and NAME.safetensors. Those that come with SemSight lie in assets/judges (made by
`python -m benchmarks.train_judges`), a user's own under SEMSIGHT_WEIGHTS/judges. The JSON holds `spec` (a ModelSpec
with class names), `trained_on` (names of images), and if known `held_out_accuracy` and `only` (names of the images that
it may judge, where its classes mean nothing beyond them). Imports no torch: `doctor` and pages ask here what there is.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.catalogue import check_spec
from core.models.intake_records import Limits
from core.models.spec import ModelSpec
from core.models.weights import MALFORMED, file_sha256, read_header
from core.settings import Settings

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "judges"
FOLDER = "judges"  # under SEMSIGHT_WEIGHTS
JSON_LIMIT = 16 << 20  # bytes; a million names of images


@dataclass(frozen=True, eq=False)
class Judge:
    """A classifier with named classes, and what it was trained on. One object for each state of its files."""

    name: str
    spec: ModelSpec
    path: Path  # of its safetensors
    sha256: str
    record_sha256: str  # of its JSON, which decides what it is asked about and how it sees
    trained_on: frozenset[str]  # names of images
    only: frozenset[str]  # names of the images that it may judge; empty: any
    held_out_accuracy: float | None
    bundled: bool

    def class_of(self, name: str) -> int | None:
        """The place of a class by name, whatever its case; None if this judge does not know it."""
        wanted = name.strip().casefold()
        return next((i for i, known in enumerate(self.spec.class_names) if known.strip().casefold() == wanted), None)


@dataclass(frozen=True)
class Judges:
    """All judges, a user's own first, each group by name; and for each malformed one a sentence."""

    found: tuple[Judge, ...]
    faults: dict[str, str]  # by name


def find_judges(settings: Settings) -> Judges:
    """All judges under SEMSIGHT_WEIGHTS/judges and in assets/judges. A name in both means the user's own.

    Nothing is raised: what is malformed is left out, with its reason.
    """
    found: dict[str, Judge] = {}
    faults: dict[str, str] = {}
    for folder, bundled in ((settings.weights / FOLDER, False), (BUNDLED, True)):
        for path in sorted(folder.glob("*.json")):
            if path.stem in found or path.stem in faults:
                continue
            try:
                found[path.stem] = _judge(path, bundled)
            except UserError as error:
                faults[path.stem] = f"The judge {path.stem} is left out: {error}"
    return Judges(tuple(found.values()), faults)


def _judge(path: Path, bundled: bool) -> Judge:
    weights = path.with_suffix(".safetensors")
    try:
        if not weights.is_file():
            raise UserError(f"{weights.name} is missing beside {path.name}; put it there.")
        status = path.stat()
        return _read(path, status.st_mtime_ns, status.st_size, file_sha256(weights), bundled)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"it cannot be read ({error}); check the permissions.") from error
    except MALFORMED as error:
        raise UserError(f"it is malformed ({type(error).__name__}: {error}); see docs/metrics.md.") from error


@lru_cache(maxsize=64)
def _read(path: Path, modified: int, size: int, sha256: str, bundled: bool) -> Judge:
    if size > JSON_LIMIT:
        raise UserError(f"{path.name} has {size:,} bytes, at most {JSON_LIMIT:,} are read; shorten its lists.")
    data = path.read_bytes()
    try:
        values = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is no JSON ({error}); correct it.") from error
    if not isinstance(values, dict):
        raise UserError(f"{path.name} must hold an object with spec and trained_on; correct it.")
    spec = _spec(values.get("spec"), path.name)
    if spec.weights_sha256 and spec.weights_sha256 != sha256:
        raise UserError(f"{path.stem}.safetensors is not the file whose sha256 {path.name} names; get both again.")
    read_header(path.with_suffix(".safetensors"), Limits())  # a file that was cut off is no judge
    accuracy = values.get("held_out_accuracy")
    if accuracy is not None and not (isinstance(accuracy, int | float) and 0 <= accuracy <= 1):
        raise UserError(f"held_out_accuracy of {path.name} must be a number from 0 to 1; correct it.")
    return Judge(
        name=path.stem,
        spec=spec,
        path=path.with_suffix(".safetensors"),
        sha256=sha256,
        record_sha256=hashlib.sha256(data).hexdigest(),
        trained_on=_names(values, "trained_on", path.name),
        only=_names(values, "only", path.name) if "only" in values else frozenset(),
        held_out_accuracy=None if accuracy is None else float(accuracy),
        bundled=bundled,
    )


def _spec(values: Any, file: str) -> ModelSpec:
    if not isinstance(values, dict):
        raise UserError(f"{file} holds no spec, the description of the classifier; see docs/metrics.md.")
    try:
        rows = {name: tuple(values[name]) for name in ("mean", "std", "class_names") if name in values}
        spec = ModelSpec(**(values | rows))
        check_spec(spec)
        spec = replace(spec, mean=tuple(map(float, spec.mean)), std=tuple(map(float, spec.std)))
    except UserError as error:
        raise UserError(f"the spec in {file} cannot be built ({error})") from error
    except (AttributeError, *MALFORMED) as error:
        raise UserError(f"the spec in {file} is malformed ({error}); see docs/metrics.md.") from error
    names = [name.strip().casefold() for name in spec.class_names if isinstance(name, str)]
    if len(set(names)) != spec.num_classes or "" in names:
        raise UserError(f"{file} must give each of its {spec.num_classes} classes a name of its own; correct it.")
    if spec.channels not in (1, 3):
        raise UserError(f"{file} describes a classifier of {spec.channels} channels; a judge takes 1 or 3.")
    return spec


def _names(values: dict[str, Any], key: str, file: str) -> frozenset[str]:
    names = values.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file} must hold {key}, a list of the images' names (empty if none); correct it.")
    return frozenset(names)
