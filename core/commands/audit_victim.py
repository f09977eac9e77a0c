"""A trained victim on the command line: a model of the store by its number, or a folder that `train` wrote."""

import hashlib
import json
from pathlib import Path

from core.errors import UserError
from core.images.dataset import DataChoice
from core.models.spec import ModelSpec

STORED = "trained:"
MODEL, WEIGHTS, ASKED = "model.json", "model.safetensors", "training.json"


def trained_victim(name: str) -> tuple[ModelSpec, bytes | None, str] | None:
    """Spec, weights and name where `name` is trained:ID or such a folder; None for the name of a preset.

    Raises UserError for a number that the store does not know, and for a folder whose files do not belong together.
    """
    if name.startswith(STORED):
        from core.jobs.compose import stored_model
        from core.settings import load_settings
        from core.storage.store import open_store

        number = name.removeprefix(STORED)
        if not number.isdecimal():
            raise UserError(f"--model {STORED}ID takes the number of a stored model, not {number[:60]!r}.")
        return stored_model(open_store(load_settings()), int(number))
    folder = Path(name)
    return _from_folder(folder) if (folder / MODEL).is_file() else None


def trained_choice(name: str) -> DataChoice | None:
    """The images that the victim of this name was trained on; None for a preset, or where nothing says."""
    from core.report.seen import as_choice, trained_on

    if name.startswith(STORED):
        from core.settings import load_settings
        from core.storage.store import open_store

        return trained_on(open_store(load_settings()), int(name.removeprefix(STORED)))
    try:
        asked = json.loads((Path(name) / ASKED).read_text(encoding="utf-8"))
        return as_choice(asked["request"]["data"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _from_folder(folder: Path) -> tuple[ModelSpec, bytes, str]:
    try:
        model = json.loads((folder / MODEL).read_text(encoding="utf-8"))
        spec = ModelSpec.from_json(json.dumps(model["spec"]))
        weights, said = (folder / WEIGHTS).read_bytes(), str(model["name"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{folder} holds no model that train has written; train it again.") from error
    if hashlib.sha256(weights).hexdigest() != spec.weights_sha256:
        raise UserError(f"{folder / WEIGHTS} is not the file that {MODEL} is of; train it again.")
    return spec, weights, said
