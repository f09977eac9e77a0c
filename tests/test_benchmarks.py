"""What the benchmarks print is what was measured, and a cell without figures says why."""

import argparse

import pytest
import torch

from benchmarks import attacks, cells
from benchmarks.overhead import Split, tell


def options(**changed):
    values = {"images": [1, 4, 64], "steps": 10, "limit": 20.0, "device": "cpu", "threads": 1, "classes": 4}
    values |= {"precision": "auto", "breaching_python": "", "invertinggradients": ""}
    return argparse.Namespace(**{**values, **changed})


def test_one_cell_times_the_real_attack():
    asked = {"model": "mlp", "size": 8, "images": 2, "classes": 4, "steps": 10, "device": "cpu", "settings": {}}
    found = cells.ours({**asked, "settings": {"precision": "float32"}})
    assert found["rate"] > 0
    assert found["record"]["precision"] == "float32"
    assert found["peak"] >= 0
    counted = cells.flops(asked)
    inputs, hidden, classes = 8 * 8 * 3, 256, 4
    assert counted["parameters"] == inputs * hidden + hidden + hidden * classes + classes
    once = 2 * (inputs * hidden + hidden * classes)  # multiplications and additions of one pass over the weights
    # forward, backward to the hidden layer, weight gradients, and the derivative of all that: at least four times,
    # and not more than ten
    assert 4 * once < counted["flops"] < 10 * once


def test_the_pace_is_that_of_the_later_half():
    assert cells.per_step([0.0, 9.0, 12.0, 13.0, 14.0]) == 1.0


def test_psnr_by_hand():
    black = torch.zeros(3, 1, 2, 2)
    images = torch.stack([black[0] + 0.1, black[0] + 0.01, black[0] + 1.0])
    assert cells.psnr(images, black) == pytest.approx(20.0, abs=1e-4)  # 10 log10(1 / 0.01) lies between 40 and 0


def test_a_cell_that_would_take_too_long_or_failed_is_said_so(monkeypatch, capsys):
    answers = iter([{"rate": 10.0, "work_rate": 4.0, "peak": 2**30, "psnr": 9.0}, {"error": "took longer | than 20 s"}])
    monkeypatch.setattr(attacks, "child", lambda *_a, **_k: next(answers))
    rates = attacks.cells(options(), "convnet", 32)
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "| convnet | 32 | 1 | 10.00 | 4.00 | 1.00 | 9.00 | SemSight |"
    assert "no result: took longer / than 20 s" in rows[1]
    assert "not run: about 208 s" in rows[2]  # 64 · (10 + 3) / 4
    assert len({row.count("|") for row in rows}) == 1
    assert rates == [4.0]


def test_the_share_outside_of_the_attack(capsys):
    split = Split(wall=100.0, loops=98.0, reports=1.0, shards=99.0, runner=0.5)
    assert split.outside == pytest.approx(0.03)
    tell(split, inline=True)
    printed = capsys.readouterr().out
    assert "| attack | 97.00 | 97.0% |" in printed
    assert "| runner beside the shards: storage, waiting | 1.00 | 1.0% |" in printed
