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
    return pd.DataFrame(columns, index=pd.Index(names, name="metric"))


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


def _number(value: float | str, digits: int) -> str:
    return value if isinstance(value, str) else f"{value:.{digits}f}".replace("-", "\u2212")
