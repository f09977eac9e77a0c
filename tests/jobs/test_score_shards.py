"""What a score shard gives the metrics, and what becomes of one that fails."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sqlalchemy import select

from core.jobs.compute import build_victim
from core.jobs.events import Event
from core.jobs.material import score_shard, true_class
from core.jobs.payloads import ScoreJob
from core.jobs.plan import ShardPlan
from core.jobs.queue import submit
from core.jobs.runner import Runner
from core.jobs.shards import ScoreShard, SetShard, run_shard
from core.metrics.base import Context, Metric
from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS
from core.models.presets import PRESETS, preset_weights
from core.models.spec import ModelSpec
from core.storage import schema
from core.storage.store import Store
from tests.filled_store import photographs
from tests.jobs.conftest import MLP, attack_job

Compute = Callable[[torch.Tensor, torch.Tensor, Context | None], torch.Tensor]


def metric(compute: Compute, name: str = "probe") -> Metric:
    """A metric of that computation."""
    return replace(METRICS["mse"], name=name, compute=compute, compute_bytes=None)


def shard(count: int = 5, **changes: object) -> ScoreShard:
    """Pairs of photographs, under the preset that was trained on faces."""
    pictures = np.stack(photographs(count))
    made = ScoreShard(
        originals=pictures,
        reconstructions=pictures[::-1].copy(),
        labels=np.arange(count, dtype=np.int64) % 2,
        metrics=("mse", "probe"),
        spec=PRESETS["lenet-faces"],
        weights=preset_weights("lenet-faces"),
        losses=np.array([0.5, math.nan, *np.arange(count - 2)]),
        classes=("cat", None, *["cat"] * (count - 2)),
        names=tuple(f"n{i}" for i in range(count)),
    )
    return replace(made, **changes)


def run(made: ScoreShard | SetShard, stop: Callable[[], bool] = lambda: False) -> list[Event]:
    told: list[Event] = []
    run_shard(made.to_bytes(), told.append, stop)
    return told


def test_the_context_holds_all_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Context] = []

    def look(x: torch.Tensor, y: torch.Tensor, context: Context | None) -> torch.Tensor:
        assert context is not None
        assert context.victim is not None
        assert context.features is not None
        seen.append(context)
        features = context.features(y.float())
        # the last layer of the very victim gives its logits of them
        model = build_victim(PRESETS["lenet-faces"], {"weights": np.frombuffer(made.weights, np.uint8)})
        torch.testing.assert_close(model.head(features), context.victim(y.float()))
        return features.double().mean(1)

    made = shard()
    monkeypatch.setitem(METRICS, "probe", metric(look))
    last = run(made)[-1]
    assert last.kind == "scores"
    assert all(value is not None for value, _ in last.values["scores"]["probe"])
    (context,) = seen
    np.testing.assert_array_equal(context.losses, made.losses)
    assert (context.classes, context.names, context.channels) == (made.classes, made.names, 3)
    assert context.victim_sha == PRESETS["lenet-faces"].weights_sha256
    assert context.settings is not None
    np.testing.assert_array_equal(context.labels, made.labels)


def test_rows_of_a_context_go_with_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    # 300 px: a batch holds 5 pairs (2^19 / 300²), so that every batch has its own part of the context
    def place(x: torch.Tensor, y: torch.Tensor, context: Context | None) -> torch.Tensor:
        assert context is not None
        assert context.names is not None
        assert len(context.names) == len(x)
        return torch.tensor([float(name[1:]) for name in context.names])

    monkeypatch.setitem(METRICS, "probe", metric(place))
    big = np.zeros((7, 300, 300, 3), np.uint8)
    last = run(shard(7, originals=big, reconstructions=big))[-1]
    assert [value for value, _ in last.values["scores"]["probe"]] == [0, 1, 2, 3, 4, 5, 6]
    # one that enlarges to 512 px gets two pairs at a time, of the same batch
    wide = replace(METRICS["probe"], input_size=512)
    monkeypatch.setitem(METRICS, "probe", wide)
    last = run(shard(7))[-1]
    assert [value for value, _ in last.values["scores"]["probe"]] == [0, 1, 2, 3, 4, 5, 6]


def test_one_metric_that_fails_loses_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(x: torch.Tensor, y: torch.Tensor, context: Context | None) -> torch.Tensor:
        raise AssertionError("the library expected another shape")

    monkeypatch.setitem(METRICS, "probe", metric(wrong))
    with caplog.at_level(logging.WARNING):
        last = run(shard())[-1]
    assert last.kind == "scores"
    assert (
        last.values["scores"]["probe"]
        == [[None, "probe failed: AssertionError: the library expected another shape"]] * 5
    )
    assert all(value is not None for value, _ in last.values["scores"]["mse"])
    assert "the metric probe failed" in caplog.text


def test_memory_that_runs_out_is_the_shards_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(x: torch.Tensor, y: torch.Tensor, context: Context | None) -> torch.Tensor:
        raise torch.OutOfMemoryError("no more")

    monkeypatch.setitem(METRICS, "probe", metric(hungry))
    assert run(shard())[-1].values["reason"] == "memory"  # the runner then splits it


def test_a_stop_is_obeyed_between_metrics_and_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []

    def note(x: torch.Tensor, y: torch.Tensor, context: Context | None) -> torch.Tensor:
        computed.append("probe")
        return x.flatten(1).mean(1)

    monkeypatch.setitem(METRICS, "probe", metric(note))
    monkeypatch.setitem(METRICS, "other", metric(note, "other"))
    last = run(shard(metrics=("probe", "other")), stop=lambda: bool(computed))[-1]
    assert (last.kind, last.values["reason"], computed) == ("failed", "cancelled", ["probe"])


def test_pictures_are_converted_once_for_all_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def note(x: torch.Tensor, y: torch.Tensor, context: Context | None) -> torch.Tensor:
        seen.append(x.data_ptr())
        return x.flatten(1).mean(1)

    for name in ("one", "two", "three"):
        monkeypatch.setitem(METRICS, name, metric(note, name))
    run(shard(metrics=("one", "two", "three")))
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_the_store_gives_names_losses_and_classes(store: Store) -> None:
    job = submit(store, attack_job(store), "x").job_id
    Runner(store).run(until_idle=True)
    with store.database.write() as connection:
        connection.execute(schema.originals.update().where(schema.originals.c.name == "p2").values(class_name="heron"))
        connection.execute(schema.reconstructions.update().where(schema.reconstructions.c.id == 1).values(loss=None))
    made = score_shard(store, ScoreJob(attack_job=job), ShardPlan("score", (0, 1, 2, 3)), 1)
    assert made.names == ("p0", "p1", "p2", "p3")
    assert made.classes == (None, None, "heron", None)  # labels were drawn, and the model names no class
    with store.database.read() as connection:
        r = schema.reconstructions
        losses = connection.execute(select(r.c.loss).where(r.c.chosen, r.c.role == "attack").order_by(r.c.target))
        wanted = [math.nan if loss is None else loss for loss in losses.scalars()]
    np.testing.assert_array_equal(made.losses, wanted)
    assert made.spec == MLP


def test_a_drawn_label_names_no_class() -> None:
    spec = ModelSpec("lenet", 2, class_names=("dog", "cat"))
    assert true_class(None, 1, "folder", spec) == "cat"
    assert true_class("tabby", 1, "folder", spec) == "tabby"  # the data set knows better
    assert true_class(None, 1, "drawn", spec) is None
    assert true_class("", 7, "table", spec) is None


def test_sets_that_are_too_small_and_weights_that_are_missing_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.stack(photographs(3))
    last = run(SetShard(7, pictures, pictures[:0], ("fid", "kid_alex", "coverage_alex")))[-1]
    assert (last.kind, last.values["set"]) == ("sets", 7)
    assert set(last.values["versions"]) == {"fid", "kid_alex", "coverage_alex"}
    assert all(value is None and reason for value, reason in last.values["scores"].values())


def test_a_statistic_that_fails_is_a_reason(shared, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from core.jobs import compute_scores

    def wrong(*_: object, **__: object) -> dict[str, float]:
        raise ArithmeticError("it did not converge")

    monkeypatch.setenv("SEMSIGHT_WEIGHTS", str(shared / "weights"))
    monkeypatch.setattr(compute_scores, "statistics", wrong)
    pictures = np.stack(photographs(3))
    last = run(SetShard(7, pictures, pictures, ("fid_alex", "coverage_alex")))[-1]
    assert last.values["scores"]["fid_alex"] == [None, "fid_alex failed: ArithmeticError: it did not converge"]
    assert "needs at least 6 pictures in each set, got 3" in last.values["scores"]["coverage_alex"][1]
    assert SET_METRICS["fid_alex"].least == 2
