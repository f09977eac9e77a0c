"""The table that `audit` prints stays readable with many metrics."""

import dataclasses

import numpy as np
import pytest

from core.commands.audit_output import summary
from core.commands.audit_run import AuditResult, Row
from core.metrics.registry import METRICS


def row(role: str, name: str) -> Row:
    pixels = np.zeros((4, 4, 3), np.uint8)
    return Row(role, name, 0, pixels, pixels, 0.0, 1, 0.1, "done")


def test_thirty_metrics_stand_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"metric_{'x' * i}" for i in range(30)]
    for i, name in enumerate(names):
        record = dataclasses.replace(METRICS["psnr"], name=name, direction="lower" if i % 2 else "higher")
        monkeypatch.setitem(METRICS, name, record)
    rows = [row("attack", "0"), row("attack", "1"), row("mismatched", "0")]
    scores = {name: [(1.25, ""), (2.25, ""), ("inf", "")] for name in names}
    scores["mse"] = [(0.5, ""), (None, "too small"), (None, "too small")]
    for name in ("ms_ssim", "lpips_vgg"):
        scores[name] = [(None, "unavailable: no such file")] * 3
    scores["victim_prediction"] = [(1.0, "")] * 3
    head, *lines = summary(AuditResult(rows, scores, {}, [], {}))
    assert head.split() == ["median", "attack", "mismatched", "more", "leakage"]
    *table, missing = lines
    assert missing == "unavailable: ms_ssim, lpips_vgg: no such file"  # one line for one reason
    assert [line.split()[0] for line in table] == [*names, "mse"]  # no diagnostics
    assert table[0].split() == [names[0], "1.75", "inf", "↑"]
    assert table[-1].split() == ["mse", "0.5", "–", "↓"]
    for column in ("attack", "mismatched"):
        end = head.index(column) + len(column)
        assert all(line[end - 1] != " " and line[end] == " " for line in table)  # numbers end where the heading ends
    assert len({len(line) for line in table}) == 1
    assert max(map(len, table)) <= 80
