"""The figures of a table made elsewhere, as tables to show: the same numbers as `python -m core correlate` gives."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

LEVELS = {
    ("image_level", "spearman"): "Spearman",
    ("image_level", "kendall"): "Kendall τ-b",
    ("image_level", "auc"): "AUC",
    ("within_original", "pairwise_accuracy"): "Within original",
    ("setting_level", "spearman"): "Settings: Spearman",
    ("setting_level", "kendall"): "Settings: Kendall",
}
LEFT_OUT = "Settings: ρ without one"
EXACT_P = "Settings: p, exact"
FEW_SETTINGS = (
    "The intervals speak of new originals and annotators, never of new settings: "
    f"for those see {EXACT_P} (every order of the settings tried, two-sided; up to 8 settings) "
    f"and {LEFT_OUT} (lowest and highest Spearman when one setting is left out)."
)
MEANING = (
    "Spearman and Kendall: of each image's score with p, the share of annotators that recognised it. AUC: of being "
    "recognised by most. Within original: how often the score says rightly which of two reconstructions of one "
    "original leaks more. Settings: of each setting's mean score with its share recognisable."
)
REFERENCES = {
    "split_half": "Half of the annotators against the rest, mean Spearman",
    "one_against_rest": "Each annotator against the mean of the rest, mean Spearman",
    "cronbach_alpha": "Cronbach's α",
    "sqrt_alpha": "√α: what a perfect predictor could reach against p",
}


def metric_table(result: Mapping[str, Any], digits: int = 4) -> pd.DataFrame:
    """One row a metric, one column a figure, as text "0.4242" or "0.4242 [0.36, 0.49]"; "–" where it is undefined."""
    names = list(result["image_level"])
    columns = {
        title: [_cell(result.get(level, {}).get(name, {}).get(figure), digits) for name in names]
        for (level, figure), title in LEVELS.items()
    }
    compared = [result.get("setting_level", {}).get(name, {}).get("spearman") or {} for name in names]
    columns[EXACT_P] = [_bare(leaf.get("p"), digits) for leaf in compared]
    columns[LEFT_OUT] = [
        " to ".join(_number(end, 2) for end in leaf.get("leave_one_setting_out", [])) or "–" for leaf in compared
    ]
    return pd.DataFrame(columns, index=pd.Index(names, name="metric"))


def settings_words(result: Mapping[str, Any]) -> str:
    """What stands beside the figures of settings: how many there are, and what their intervals do not say."""
    return f"{result['settings']} settings. {FEW_SETTINGS}"


def people_table(result: Mapping[str, Any], digits: int = 4) -> pd.DataFrame:
    """Agreement and the human reference, each figure by its own name; none is "the ceiling"."""
    rows = {"Fleiss' κ": result["agreement"].get("fleiss_kappa")}
    rows |= {title: result["human_reference"].get(name) for name, title in REFERENCES.items()}
    return pd.DataFrame(
        {"figure": [_cell(leaf, digits) for leaf in rows.values()]}, index=pd.Index(rows, name="people")
    )


def _cell(leaf: Mapping[str, Any] | None, digits: int) -> str:
    if leaf is None or leaf.get("estimate") is None:
        return "–"
    text = _number(leaf["estimate"], digits)
    if leaf.get("low") is None or leaf.get("high") is None:
        return text
    return f"{text} [{_number(leaf['low'], 2)}, {_number(leaf['high'], 2)}]"


def _bare(value: float | str | None, digits: int) -> str:
    return "–" if value is None else _number(value, digits)


def _number(value: float | str, digits: int) -> str:
    return value if isinstance(value, str) else f"{value:.{digits}f}".replace("-", "\u2212")
