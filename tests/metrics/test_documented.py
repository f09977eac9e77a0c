"""Every metric has its row in docs/metrics.md, and the row says what the record says."""

from pathlib import Path

import pytest

from core.metrics.base import Metric
from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS, SetMetric

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_is_documented(metric: Metric) -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{metric.name}` |")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[1] == metric.title
    assert cells[2] == ("– (diagnostic)" if metric.diagnostic else metric.direction)
    assert cells[4] == f"{metric.minimum_size} px"
    assert all(name in cells[5] for name in metric.needs)


@pytest.mark.parametrize("metric", SET_METRICS.values(), ids=SET_METRICS)
def test_every_set_metric_is_documented(metric: SetMetric) -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{metric.name}` |")]
    assert len(rows) == 1
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert (cells[1], cells[2]) == (metric.title, metric.direction)
    assert (cells[4], cells[5], cells[6]) == (str(metric.least), f"{metric.minimum_sample:,}", metric.needs[0])
