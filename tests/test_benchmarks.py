"""What the benchmarks print is what was measured, and a cell without figures says why."""

import argparse

import numpy as np
import pytest
import torch

from benchmarks import attacks, cells, metric_cells, metrics, training
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


@pytest.mark.parametrize("library", ["SemSight", "torchmetrics", "piq"])
def test_every_library_scores_the_same_pairs_in_bounded_batches(library, monkeypatch):
    monkeypatch.setattr(metric_cells, "POOL", 3 * 32**2 * 7)
    metric_cells.pool.cache_clear()
    score = metric_cells.scorer(library, "psnr", "cpu")
    originals, reconstructions = metric_cells.pool(32)
    assert len(originals) == 7
    errors = ((originals / 255 - reconstructions / 255) ** 2).mean((1, 2, 3))
    found = [getattr(s, "value", s) for s in score(originals, reconstructions, 2 * 32**2)]
    assert found == pytest.approx(list(-10 * np.log10(errors)), abs=1e-3)  # piq adds 1e-8 to the error
    assert metric_cells.run(score, 32, 17, 2 * 32**2) > 0  # 7, 7 and 3
    metric_cells.pool.cache_clear()


def test_a_line_names_what_is_slower_and_what_failed(capsys):
    class Library:
        def __init__(self, rate):
            self.rate = rate

        def ask(self, **what):
            if not self.rate:
                return {"error": "RuntimeError: no | room"}
            return (
                {"pace": self.rate} if what["what"] == "warm" else {"seconds": what["pairs"] / self.rate, "peak": 2**20}
            )

    options = metrics.parse(["--sizes", "32", "--pairs", "100", "--repeats", "1", "--device", "cpu"])
    assert metrics.row(
        "psnr", 32, {"SemSight": Library(50.0), "torchmetrics": Library(100.0), "piq": Library(0)}, options
    )
    assert not metrics.row("psnr", 32, {"SemSight": Library(50.0), "torchmetrics": Library(40.0)}, options)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "| psnr | 32 | 100 | 50 | 100 | RuntimeError: no / room | 0.50 | 1 / 1 / – |"
    assert "| 1.25 |" in second
    assert not metrics.row("ms_ssim", 32, {}, options)  # below its minimum: no line at all
    assert capsys.readouterr().out == ""


def test_training_is_timed_in_both_loops():
    asked = argparse.Namespace(device="cpu", rounds=2, workers=0, ats=False)
    found = training.compare("lenet", 64, asked)
    assert [loop for loop, *_ in found] == ["plain", "SemSight"]
    assert all(clock > 0 and work > 0 for _, clock, work, *_ in found)
    assert found[0][3:] == (1.0, 1.0)
    assert all(ratio > 0 for ratio in found[1][3:])


def test_training_loops_take_turns_and_the_ratio_is_that_of_a_round(monkeypatch: pytest.MonkeyPatch):
    # 64 images a round; the machine is twice as slow in the second round, which so goes backwards: plain 4 s then 8 s,
    # ours 2 s then 4 s by the clock, and half of each by the processor
    now = {"clock": 0.0, "work": 0.0}
    order = []
    slow = iter((1, 1, 2, 2))

    def loop(name: str, seconds: float):
        def run(*_: object) -> None:
            order.append(name)
            spent = seconds * next(slow)
            now["clock"] += spent
            now["work"] += spent / 2

        return run

    monkeypatch.setattr(training, "plain", loop("plain", 4.0))
    monkeypatch.setattr(training, "ours", loop("ours", 2.0))
    monkeypatch.setattr(training.time, "perf_counter", lambda: now["clock"])
    monkeypatch.setattr(training.time, "process_time", lambda: now["work"])
    asked = argparse.Namespace(device="cpu", rounds=2, workers=0, ats=False)
    found = training.compare("lenet", 64, asked)
    assert order == ["plain", "ours", "ours", "plain"]
    assert found == [("plain", 12.0, 24.0, 1.0, 1.0), ("SemSight", 24.0, 48.0, 2.0, 2.0)]
