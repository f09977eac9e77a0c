"""Diagnostics: what the victim itself makes of the reconstruction. They measure the attack's fit, never leakage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.errors import UserError
from core.metrics.base import Context, Metric

if TYPE_CHECKING:
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


NEEDS_VICTIM = "The victim's own prediction needs the victim and the true labels, which only an audit has."
SOURCE = "the attacked model in eval mode; a diagnostic of the attack's fit, not a measure of leakage"
VICTIM_PREDICTION = Metric(
    name="victim_prediction",
    title="Victim still predicts the true class",
    direction="higher",
    bounds=(0.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=1,
    needs=(),
    input_size=None,
    version="1",
    source=SOURCE,
    compute=prediction,
    sees="It says whether the attacked model itself still names the true class.",
    misses="A pattern that only this model takes for the class counts in full, though no person sees anything in it.",
    lacks=lacks_victim,
    diagnostic=True,
    symmetric=False,
)
VICTIM_PROBABILITY = Metric(
    name="victim_probability",
    title="Victim's probability of the true class",
    direction="higher",
    bounds=(0.0, 1.0),
    unit="",
    kind="pair",
    minimum_size=1,
    needs=(),
    input_size=None,
    version="1",
    source=SOURCE,
    compute=probability,
    sees="It says how sure the attacked model is of the true class.",
    misses="An attack can raise it with patterns that no person recognises, so it measures the attack's fit.",
    lacks=lacks_victim,
    diagnostic=True,
    symmetric=False,
)

METRICS = (VICTIM_PREDICTION, VICTIM_PROBABILITY)
