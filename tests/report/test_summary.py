"""A run's summary: infinities counted and left out, PSNR of the mean error, nothing scored."""

import math

import numpy as np
import pytest

from core.report.columns import run_table
from core.report.groups import first_shown, group, in_order
from core.report.summary import decibels_of_mean, run_summary
from tests.filled_store import fill_store


def test_a_summary_counts_infinities_and_leaves_them_out_of_the_mean(store):
    fill_store(store, originals=10, runs=1)
    table = run_table(store, 1)
    rows = {row.metric: row for row in run_summary(table)}
    psnr = table.scores["psnr"]
    assert (rows["psnr"].n, rows["psnr"].infinite, rows["psnr"].unscored) == (10, 1, 0)
    assert rows["psnr"].mean == pytest.approx(psnr[np.isfinite(psnr)].mean(), rel=1e-12)
    assert rows["psnr"].median == pytest.approx(np.median(psnr), rel=1e-12)
    assert (rows["ssim"].n, rows["ssim"].unscored) == (9, 1)
    # The mean of the errors is finite though one PSNR is not: -10 log10 of the mean of `mse`.
    assert rows["psnr"].of_mean_error == pytest.approx(-10 * math.log10(table.scores["mse"].mean()), abs=1e-9)
    assert rows["mse"].of_mean_error is None  # only metrics in dB stand for an error


def test_decibels_of_the_mean_error_by_hand():
    assert decibels_of_mean(np.array([10.0, 20.0])) == pytest.approx(-10 * math.log10(0.055))  # errors 0.1 and 0.01
    assert decibels_of_mean(np.array([math.inf, 10.0])) == pytest.approx(-10 * math.log10(0.05))  # errors 0 and 0.1
    assert decibels_of_mean(np.array([math.inf])) == math.inf


def test_metrics_stand_in_groups_and_few_are_shown_first():
    names = ("victim_probability", "lpips_alex", "ssim", "psnr", "mse", "ms_ssim", "clip_distance", "gmsd", "new_one")
    assert [group(name) for name in names[:4]] == ["diagnostics", "deep features", "structure", "pixels"]
    assert (group("clip_distance"), group("gmsd"), group("new_one")) == ("deep features", "structure", "other")
    assert in_order(names)[:2] == ("mse", "psnr")
    assert in_order(names)[-1] == "victim_probability"
    shown = first_shown([*names, *(f"lpips_vgg_{i}" for i in range(20))])
    assert len(shown) == 8
    assert "victim_probability" not in shown
    assert {"psnr", "mse", "ssim", "lpips_alex"} <= set(shown)
