"""A model card: what is known of a model, as JSON that travels with its weights. No torch."""

import math
from dataclasses import asdict
from typing import Any

from core.images.datasets import DATASETS
from core.models.training.privacy import covered
from core.report.models import ModelEntry
from core.report.training import TrainingJob

FORMAT = "semsight model card 1"


def model_card(entry: ModelEntry, training: TrainingJob | None = None) -> dict[str, Any]:
    """Everything that someone needs who is given the weights: what the model takes, how it was made, how good it is.

    Numbers that are not known are null; nothing in it is NaN. training: the job that made it. A model that was trained
    with DP-SGD has none of the figures that its ε does not cover.
    """
    dataset = training.dataset if training is not None else entry.facts.get("dataset")
    record = DATASETS.get(str(dataset).partition(":")[0])
    known = covered(entry.facts) if entry.facts.get("privacy") else entry.facts
    facts = {name: _json(value) for name, value in known.items() if name != "recipe"}
    return {
        "format": FORMAT,
        "name": entry.name,
        "origin": entry.origin,
        "spec": asdict(entry.spec),
        "parameters": entry.parameters,
        "held_out_accuracy": _json(entry.accuracy),
        "held_out_images": entry.held_out,
        "epoch": entry.epoch,
        "last_epoch": entry.final,
        "recipe": entry.facts.get("recipe") if training is None else training.recipe.to_dict(),
        "data": None if training is None else training.data,
        "data_licence": None if record is None else record.licence,
        "facts": facts,
        "runs_in_this_store": len(entry.runs),
    }


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
