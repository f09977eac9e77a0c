"""The rules that read labels off an update, in words, and how their accuracy is measured. Imports no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import UserError
from core.knobs import knob
from core.registry import look_up, register


@dataclass(frozen=True)
class LabelRule:
    """A rule of `core.attacks.labels`: what it does, who found it, and what must hold for it to be right."""

    name: str
    title: str
    summary: str
    source: str
    needs: str


LABEL_RULES: dict[str, LabelRule] = {}
for _rule in (
    LabelRule(
        "auto",
        "Automatic",
        "Where the last layer has a bias, the bias-corrected rule (for one image the bias's sign, which is exact). "
        "Else LLG* (for one image the most negative row).",
        "SemSight; the choice is measured in docs/labels.md",
        "What the rule that it takes needs.",
    ),
    LabelRule(
        "idlg",
        "iDLG: sign of the row sums",
        "A class whose row of the last weight's gradient sums to less than 0 is in the update. In a batch each such "
        "class is taken once, the most negative first, and again from the start while labels are missing.",
        "Zhao, Mopuri and Bilen 2020, arXiv 2001.02610, section 3 (one image); the batch form is ours",
        "Last features that are not negative (ReLU, sigmoid).",
    ),
    LabelRule(
        "bias-sign",
        "Sign of the bias gradient",
        "The bias gradient is a class's mean probability minus its share of the update, so a negative value proves the "
        "class. The most negative class is taken and given back its share, 1/B, until there are B.",
        "Zhao, Mopuri and Bilen 2020, arXiv 2001.02610, equation 3, summed over a batch",
        "A last layer with a bias; exact for one image, and for repeats while probabilities stay below 1/B.",
    ),
    LabelRule(
        "yin",
        "Yin: smallest value of each row",
        "Sorts the classes by the smallest entry in their row of the last weight's gradient and takes the first B. The "
        "order starts again when there are more images than classes.",
        "Yin et al. 2021, See through Gradients, arXiv 2104.07586, section 3.2",
        "Last features that are not negative, and no class twice in an update.",
    ),
    LabelRule(
        "wainakh",
        "Wainakh: impact of one image",
        "Every class with a negative row sum once, then greedily the most negative one; each pick gives back the "
        "impact of one image, the sum of the negative row sums × (1 + 1/classes) / B.",
        "Wainakh et al. 2022, User-Level Label Leakage from Gradients (LLG), arXiv 2105.09369",
        "Last features that are not negative, and of like size from image to image.",
    ),
    LabelRule(
        "wainakh-star",
        "LLG*: impact and offset from made-up pictures",
        "As Wainakh's, but the impact of one image (the sum of its last features) and the offset (the probability of "
        "each class) are those of made-up pictures, sent through the model that the attacker has.",
        "Wainakh et al. 2022, arXiv 2105.09369, LLG*; the pictures and the closed form of the impact are ours",
        "Last features that are not negative, and a model that treats made-up pictures like real ones.",
    ),
    LabelRule(
        "bias-corrected",
        "Bias gradient minus the expected probability",
        "Proven classes first, as by the bias's sign; then by what is left of the bias gradient beyond the probability "
        "that the model gives each class on made-up pictures.",
        "The bias's sign above, with the offset estimated from made-up images as LLG* does (Wainakh et al. 2022, arXiv "
        "2105.09369)",
        "A last layer with a bias, and a model whose mean probabilities depend little on the pictures.",
    ),
):
    register(LABEL_RULES, _rule.name, _rule)


def label_rule_knob(default: str = "auto") -> Any:
    """The field `label_rule` of an attack's config."""
    return knob(
        default, "How labels that are not granted are read off the update; see docs/labels.md.", choices=(*LABEL_RULES,)
    )


def check_label_rule(name: str) -> LabelRule:
    """The rule called `name`; UserError with its nearest neighbours for an unknown one."""
    return look_up(LABEL_RULES, name, "label rule")


@dataclass(frozen=True)
class LabelAccuracy:
    """shares: (N,) in [0, 1], the part of each update's B labels that was recovered, repeats counted: the size of the
    multiset intersection / B. exact: (N,) bool, all of them."""

    shares: np.ndarray
    exact: np.ndarray

    @property
    def mean(self) -> float:
        """Mean share over the updates."""
        return float(self.shares.mean())


def label_accuracy(recovered: np.ndarray, true: np.ndarray) -> LabelAccuracy:
    """Compare (N, B) recovered with (N, B) true labels; their order within an update says nothing and is ignored.

    Raises UserError when the two are not of one shape or are empty.
    """
    recovered, true = np.asarray(recovered), np.asarray(true)
    if recovered.shape != true.shape or recovered.ndim != 2 or recovered.size == 0:
        raise UserError(
            f"Label accuracy compares two tables of (updates, images), not {recovered.shape} with {true.shape}."
        )
    pairs = zip(recovered.tolist(), true.tolist(), strict=True)
    shares = np.array([(Counter(ours) & Counter(right)).total() / recovered.shape[1] for ours, right in pairs])
    return LabelAccuracy(shares, shares == 1.0)
