"""All defences by name, and how a user's settings become a config. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from core.errors import UserError
from core.knobs import changed
from core.leakage.defences.base import Defence
from core.leakage.defences.clipping import BATCHNORM_REFUSED, CLIP, DP_SGD
from core.leakage.defences.coarse import QUANTISE, SIGN
from core.leakage.defences.mixing import LABEL_SMOOTHING, MIXUP
from core.leakage.defences.noise import GAUSSIAN, LAPLACE
from core.leakage.defences.pictures import ATS, CROP_FLIP
from core.leakage.defences.sparse import PRUNE, SOTERIA, TOP_K
from core.leakage.threat import ChosenDefence, ThreatModel
from core.models.catalogue import CATALOGUE
from core.models.spec import ModelSpec
from core.registry import look_up, register

DEFENCES: dict[str, Defence] = {}
for _defence in (
    GAUSSIAN,
    LAPLACE,
    CLIP,
    DP_SGD,
    TOP_K,
    PRUNE,
    SIGN,
    QUANTISE,
    SOTERIA,
    ATS,
    CROP_FLIP,
    MIXUP,
    LABEL_SMOOTHING,
):
    register(DEFENCES, _defence.name, _defence)

MODEL_ONLY = "Nothing but the model is shared here, so {} has nothing to protect; remove it or share an update."


def configure_defence(name: str, settings: Mapping[str, object]) -> Any:
    """The config of the defence called `name` with these settings in place of its defaults. Raises UserError."""
    return changed(look_up(DEFENCES, name, "defence").config, settings)


def completed(threat: ThreatModel) -> ThreatModel:
    """The threat model with every field of each defence's config, as it is stored. Raises UserError."""
    chosen = [ChosenDefence(one.name, asdict(configure_defence(one.name, one.settings))) for one in threat.defences]
    return replace(threat, defences=tuple(chosen))


def check_defences(threat: ThreatModel, spec: ModelSpec | None = None) -> None:
    """Raise UserError, in one sentence, for defences that do not exist or do not fit what they are used with."""
    for chosen in threat.defences:
        configure_defence(chosen.name, chosen.settings)
    names = [chosen.name for chosen in threat.defences]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"{DEFENCES[min(twice)].title} is chosen twice; keep one of them.")
    if threat.update == "none" and names:
        raise UserError(MODEL_ONLY.format(DEFENCES[names[0]].title))
    if "mixup" in names and threat.client_images < 2:
        raise UserError("Mixup mixes the pictures of one client, which has a single one here; choose at least two.")
    if "dp-sgd" in names:
        first = next(name for name in names if DEFENCES[name].on_update is not None)
        if threat.update == "weights":
            raise UserError(
                "DP-SGD clips gradients of single images, which FedAvg's weight difference no longer holds; share "
                "gradients, or choose clip and gaussian, which act on the client's whole update."
            )
        if spec is not None and CATALOGUE[spec.architecture].batchnorm:
            raise UserError(BATCHNORM_REFUSED)
        if "mixup" in names:
            raise UserError(
                "DP-SGD states its ε for one picture, and mixup puts each picture into two of the clipped gradients, "
                "which that ε does not cover; choose one of the two."
            )
        if first != "dp-sgd":
            raise UserError(
                f"DP-SGD makes its own gradients, so it comes before {DEFENCES[first].title}; put it first."
            )
