"""Figures of a table made elsewhere, as they are shown."""

from pathlib import Path

import pytest

from core.report.elsewhere import EXACT_P, metric_table, people_table, settings_words
from core.statistics.human_table import COLUMNS, correlate_table
from core.tables import read_table


def test_the_published_table_shows_the_reference_figures(shared: Path) -> None:
    """Figures: shared/REFERENCE.md, "Human data to test with", to 4 digits."""
    frame = read_table(shared / "data" / "human_study_convnet.csv", required=COLUMNS)
    result = correlate_table(frame, resamples=0)
    table = metric_table(result)
    assert table["Spearman"].str[:6].to_dict() == {
        "mse": "0.1833",
        "psnr": "0.1833",
        "ssim": "0.1957",
        "lpips": "0.4242",
        "dreamsim": "0.4821",
        "semsim": "0.2646",
    }
    assert table.loc["lpips"].str[:6].tolist()[:6] == ["0.4242", "0.3121", "0.7208", "0.7187", "0.8214", "0.7143"]
    assert float(table.loc["lpips", EXACT_P]) == pytest.approx(0.034, abs=5e-4)  # the same page: rho .821 of 7 -> .034
    assert settings_words(result).startswith("7 settings. ")
    assert "never of new settings" in settings_words(result)
    people = people_table(result)["figure"].str[:6]
    assert people["Fleiss' κ"] == "0.4088"
    assert people["Half of the annotators against the rest, mean Spearman"] == "0.6681"


def test_an_undefined_figure_is_a_dash() -> None:
    leaf = {"estimate": None, "low": None, "high": None, "n": 2, "unscored": 0, "reason": "needs at least 3"}
    result = {
        "image_level": {
            "psnr": {"spearman": leaf, "kendall": leaf | {"estimate": -0.5}, "auc": leaf | {"estimate": "inf"}}
        },
        "within_original": {},
        "setting_level": {},
        "agreement": {},
        "human_reference": {},
    }
    assert metric_table(result).loc["psnr"].tolist() == ["–", "−0.5000", "inf", "–", "–", "–", "–", "–"]
    assert set(people_table(result)["figure"]) == {"–"}
