"""Diagnostics: what the victim itself makes of the reconstruction. They measure the attack's fit, never leakage."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from core.errors import UserError
from core.metrics.base import Context, Metric

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from core.settings import Settings


def probability(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """(N,) the victim's softmax probability of the true class, seen the reconstruction; in [0, 1]."""
    logits, labels = _answers(reconstructions, context)
    return logits.softmax(1).gather(1, labels[:, None])[:, 0]


def prediction(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """(N,) 1 where the victim's most probable class of the reconstruction is the true one, else 0."""
    logits, labels = _answers(reconstructions, context)
    return (logits.argmax(1) == labels).to(logits.dtype)


def feature_distance(
    originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None
) -> torch.Tensor:
    """(N,) Euclidean distance of what the victim's last layer takes of the two images; 0 or more."""
    if context is None or context.features is None:
        raise UserError(NEEDS_FEATURES)
    u, v = (context.features(images[:, : context.channels].float()).double() for images in (originals, reconstructions))
    gaps: torch.Tensor = (u - v).flatten(1).square().sum(1).sqrt()
    return gaps


def attack_loss(originals: torch.Tensor, reconstructions: torch.Tensor, context: Context | None = None) -> torch.Tensor:
    """(N,) the attack's own loss of each reconstruction, float64; NaN where it has none."""
    import torch

    if context is None or context.losses is None:
        raise UserError(NEEDS_LOSSES)
    return torch.as_tensor(context.losses, dtype=torch.float64, device=originals.device)


def _answers(images: torch.Tensor, context: Context | None) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    if context is None or context.victim is None or context.labels is None:
        raise UserError(NEEDS_VICTIM)
    logits = context.victim(images[:, : context.channels].float()).double()
    labels = torch.as_tensor(context.labels, device=logits.device).long()
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise UserError(f"The victim knows classes 0 to {logits.shape[1] - 1}; a true label lies outside.")
    return logits, labels


def lacks_victim(settings: Settings, context: Context | None) -> str:
    """Why the victim cannot be asked, or ""."""
    return NEEDS_VICTIM if context is None or context.victim is None or context.labels is None else ""


def lacks_features(settings: Settings, context: Context | None) -> str:
    """Why the victim's features cannot be compared, or ""."""
    return NEEDS_FEATURES if context is None or context.features is None else ""


def lacks_losses(settings: Settings, context: Context | None) -> str:
    """Why there is no attack's loss, or ""."""
    return NEEDS_LOSSES if context is None or context.losses is None else ""


NEEDS_VICTIM = "The victim's own prediction needs the victim and the true labels, which only an audit has."
NEEDS_FEATURES = "The victim's feature distance needs the victim, which only an audit has."
NEEDS_LOSSES = "The attack's own loss is known in an audit only."
SOURCE = "the attacked model in eval mode; a diagnostic of the attack's fit, not a measure of leakage"


def _diagnostic(
    name: str,
    title: str,
    compute: Callable[[torch.Tensor, torch.Tensor, Context | None], torch.Tensor],
    lacks: Callable[[Settings, Context | None], str],
    *,
    sees: str,
    misses: str,
    direction: Literal["higher", "lower"] = "higher",
    bounds: tuple[float, float] = (0.0, 1.0),
    source: str = SOURCE,
    symmetric: bool = False,
) -> Metric:
    return Metric(
        name=name,
        title=title,
        direction=direction,
        bounds=bounds,
        unit="",
        kind="pair",
        minimum_size=1,
        needs=(),
        input_size=None,
        version="1",
        source=source,
        compute=compute,
        sees=sees,
        misses=misses,
        lacks=lacks,
        diagnostic=True,
        symmetric=symmetric,
    )


VICTIM_PREDICTION = _diagnostic(
    "victim_prediction",
    "Victim still predicts the true class",
    prediction,
    lacks_victim,
    sees="It says whether the attacked model itself still names the true class.",
    misses="A pattern that only this model takes for the class counts in full, though no person sees anything in it.",
)
VICTIM_PROBABILITY = _diagnostic(
    "victim_probability",
    "Victim's probability of the true class",
    probability,
    lacks_victim,
    sees="It says how sure the attacked model is of the true class.",
    misses="An attack can raise it with patterns that no person recognises, so it measures the attack's fit.",
)
VICTIM_FEATURE_DISTANCE = _diagnostic(
    "victim_feature_distance",
    "Distance of the victim's features",
    feature_distance,
    lacks_features,
    direction="lower",
    bounds=(0.0, math.inf),
    symmetric=True,
    sees="It compares what the attacked model's last layer is given of both pictures.",
    misses="Pictures that look nothing alike can be the same to this model, and its scale differs from model to model.",
)
ATTACK_LOSS = _diagnostic(
    "attack_loss",
    "Attack's own loss",
    attack_loss,
    lacks_losses,
    direction="lower",
    bounds=(-math.inf, math.inf),
    source="what the attack minimised, at the reconstruction; a diagnostic of its fit, not a measure of leakage",
    sees="It says how well the reconstruction explains the update, which is all that the attack itself knows.",
    misses="A small loss is no likeness: other pictures can explain the same update, and losses of different attacks "
    "share no scale.",
)

METRICS = (VICTIM_PREDICTION, VICTIM_PROBABILITY, VICTIM_FEATURE_DISTANCE, ATTACK_LOSS)
