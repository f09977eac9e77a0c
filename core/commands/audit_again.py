"""`audit --again run.json`: the request that an earlier audit wrote down, from the folder that it left."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import core
from core.errors import UserError
from core.images.intake import take_in_image
from core.images.picture import Prepared
from core.jobs.compose import AttackRequest, defend
from core.jobs.payloads import renamed
from core.leakage.threat import ThreatModel
from core.models.presets import PRESETS, preset_weights
from core.models.spec import ModelSpec

MOST_BYTES = 256 * 2**20  # a run.json of 10,000 images takes some megabytes


def request_again(file: Path, weights: Path | None = None, device: str | None = None) -> tuple[AttackRequest, str]:
    """(the same request, what there is to say about it): model, images, threat model, attack, settings and seed.

    The images are read from the folder of `file`, and checked against the hashes in it. weights: the file of an own
    model. Raises UserError.
    """
    run = _read(file)
    try:
        spec = ModelSpec.from_json(json.dumps({k: v for k, v in run["model"].items() if k != "name"}))
        request = AttackRequest(
            spec,
            str(run["model"]["name"]),
            _weights(str(run["model"]["name"]), spec, weights),
            str(run["dataset"]),
            tuple(_image(file.parent, entry, spec) for entry in run["images"]),
            str(run["attack"]),
            renamed(str(run["attack"]), dict(run["config"])),
            ThreatModel.from_dict(run["threat_model"]),
            int(run["seed"]),
            int(run["asked"]["controls"]),
            device or str(run["asked"]["device"]),
        )
        wanted = list(run["original_pixels_sha256"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file.name} is not what this version's audit writes as run.json; give such a file.") from None
    found = [hashlib.sha256(image.original.tobytes()).hexdigest() for image in defend(request).prepared]
    if found != wanted:
        raise UserError(f"The images beside {file.name} are not those that the run attacked; restore its folder.")
    made, here = str(run.get("semsight")), core.__version__
    return request, "" if made == here else f"the run was made with SemSight {made}; this is {here}."


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise UserError(f"{file.name} is too large for a run.json; give the file that an audit wrote.")
        run = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file.name} cannot be read ({error.strerror}); give the run.json of an audit.") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise UserError(f"{file.name} is no JSON; give the run.json of an audit.") from None
    if not isinstance(run, dict):
        raise UserError(f"{file.name} is not what an audit writes as run.json; give such a file.")
    return run


def _weights(name: str, spec: ModelSpec, file: Path | None) -> bytes | None:
    if not spec.weights_sha256:
        return None
    if name in PRESETS and PRESETS[name].weights_sha256 == spec.weights_sha256:
        return preset_weights(name)
    if file is None:
        raise UserError("The run attacked a model of your own; give its file again with --weights.")
    from core.models.intake import take_in_weights

    if not file.is_file():
        raise UserError(f"There is no file called {str(file)[:200]!r}; give the path of the weights.")
    data = take_in_weights(file, file.name, spec).safetensors
    if hashlib.sha256(data).hexdigest() != spec.weights_sha256:
        raise UserError(f"{file.name} does not hold the weights that the run attacked; give the file it was given.")
    return data


def _image(folder: Path, entry: dict[str, Any], spec: ModelSpec) -> Prepared:
    """An original as it was before any input defence."""
    name = str(entry["name"])
    if name != Path(name).name:
        raise UserError(f"{name[:60]!r} is no name of an image that an audit wrote; give the run.json of an audit.")
    places = [folder / part / f"{name}.png" for part in ("sources", "originals")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(f"There is no originals/{name}.png beside the run.json; restore the folder of the run.")
    pixels = np.ascontiguousarray(take_in_image(path.read_bytes(), path.name).pixels[..., : spec.channels])
    label, source = int(entry["label"]), str(entry["label_source"])
    return Prepared(name, pixels, pixels, label, source, str(entry["class"]))
