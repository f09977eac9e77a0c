"""iDLG: read the label off the last layer's gradient, then search for the image alone. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.attacks.base import Attack, Progress, Reconstructions
from core.attacks.dlg import PaperSearchConfig, SearchConfig
from core.attacks.label_rules import label_rule_knob
from core.errors import UserError
from core.knobs import knob

if TYPE_CHECKING:
    from core.leakage.observation import Observation

SOURCE = "Zhao, Mopuri and Bilen 2020, iDLG: Improved Deep Leakage from Gradients, arXiv 2001.02610"


@dataclass(frozen=True)
class IdlgConfig(SearchConfig):
    """iDLG over the practical search of `dlg`."""

    label_rule: str = label_rule_knob()


@dataclass(frozen=True)
class PaperIdlgConfig(PaperSearchConfig):
    """iDLG over the paper's search."""

    tolerance: float = knob(1e-6, "Stops when the loss falls below this.", minimum=0.0)


def reconstruct(
    observation: Observation,
    config: IdlgConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """Recover the labels, then match the update's gradient; granted labels are not used."""
    from core.attacks.labels import recover_labels
    from core.attacks.matching import match

    labels = recover_labels(observation, config.label_rule)
    done = match("idlg", observation, config, seed=seed, progress=progress, targets=targets, labels=labels)
    return _told(done, observation, config.label_rule)


def reconstruct_paper(
    observation: Observation,
    config: PaperIdlgConfig,
    *,
    seed: int,
    progress: Progress | None = None,
    targets: Sequence[int] | None = None,
) -> Reconstructions:
    """As the paper: one image an update, label by row sums. Raises UserError for batches."""
    from core.attacks.labels import recover_labels
    from core.attacks.matching import match_as_paper

    if observation.batch_size > IDLG_PAPER.max_batch:
        raise UserError(
            f"idlg-paper attacks updates of one image, not of {observation.batch_size}; choose idlg, or batch size 1."
        )
    labels = recover_labels(observation, "idlg")
    done = match_as_paper(
        "idlg-paper",
        observation,
        config,
        seed=seed,
        progress=progress,
        targets=targets,
        labels=labels,
        tolerance=config.tolerance,
    )
    return _told(done, observation, "idlg")


def _told(done: Reconstructions, observation: Observation, rule: str) -> Reconstructions:
    """With the record of how the labels were found, and in the status why an update has none that can be read."""
    from core.attacks.labels import unreadable

    status = tuple(why or said for why, said in zip(unreadable(observation), done.status, strict=True))
    return replace(done, status=status, record={**done.record, "labels": f"recovered by rule {rule}"})


IDLG = Attack(
    name="idlg",
    title="iDLG",
    summary="Reads the label off the last layer's gradient, then searches for the image as DLG does. Assumes a linear "
    "last layer; without a bias also features that are not negative.",
    source=SOURCE,
    config=IdlgConfig(),
    effort="iterations",
    reconstruct=reconstruct,
)
IDLG_PAPER = Attack(
    name="idlg-paper",
    title="iDLG, as in the paper",
    summary="The paper's own settings: L-BFGS without a line search, one start from N(0, 1), end at a loss of 1e-6. "
    "One image an update.",
    source=SOURCE,
    config=PaperIdlgConfig(),
    reconstruct=reconstruct_paper,
    max_batch=1,
)
