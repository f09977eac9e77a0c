"""Shards without a store or a runner: bytes in, events out."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.attacks.speed import useful_threads
from core.jobs.events import LAST, Event
from core.jobs.packing import pack, unpack
from core.jobs.plan import IMAGE_SLOTS, ShardPlan, plan_attack, plan_score, split
from core.jobs.progress import WorkerProgress
from core.jobs.shards import plan_shards, run_shard
from core.leakage.threat import ThreatModel
from core.storage.store import Store
from tests.jobs.conftest import attack_job, prepared

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text())


@settings(deadline=None)
@given(st.dictionaries(st.text(), PLAIN), st.binary())
def test_headers_and_bytes_survive(header: dict, data: bytes) -> None:
    again, arrays = unpack(pack(header, {"data": np.frombuffer(data, np.uint8), "x": np.arange(6.0).reshape(2, 3).T}))
    assert again == header
    assert arrays["data"].tobytes() == data
    assert np.array_equal(arrays["x"], np.arange(6.0).reshape(2, 3).T)


@pytest.mark.parametrize("data", [b"", b"1234567", b"\xff" * 40, pack({}, {})[:-1]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no shard"):
        unpack(data)


def events_of(store: Store, **changes: object) -> list[list[Event]]:
    payload = attack_job(store, **changes)
    images = prepared(4)
    shards = plan_shards(payload, [i.original for i in images], [i.label for i in images], None, threads=1)
    all_events: list[list[Event]] = []
    for shard in shards:
        all_events.append([])
        run_shard(shard.to_bytes(), lambda e: all_events[-1].append(Event.from_bytes(e.to_bytes())), lambda: False)
    return all_events


def test_an_attack_and_its_controls_run_without_a_store(store: Store) -> None:
    events = events_of(store, attack="inverting-gradients", steps=20)
    assert [shard[0].kind for shard in events] == ["facts"] * 3
    last = [shard[-1] for shard in events]
    assert {event.kind for event in last} == {"reconstructions"}
    attack, mismatched, prior = (event.arrays["images"] for event in last)
    assert attack.shape == (4, 1, 1, 8, 8, 1)
    assert mismatched.shape == prior.shape == (2, 1, 1, 8, 8, 1)
    # a control sees the same start and labels; only its gradient, or the lack of one, leads elsewhere
    assert not np.array_equal(attack[:2], mismatched)
    assert not np.array_equal(attack[:2], prior)


def test_the_easy_case_attacks_the_first_image_of_an_update_alone(store: Store) -> None:
    threat = ThreatModel(batch_size=2, labels="inferred")
    batched = events_of(store, attack="inverting-gradients", steps=3, threat=threat)
    assert [shard[-1].arrays["images"].shape[:3] for shard in batched] == [(2, 1, 2)] * 3 + [(2, 1, 1)]
    easy = batched[-1][-1]
    assert easy.values["record"]["labels"] == "known"
    images = prepared(4)
    assert easy.arrays["labels"].ravel().tolist() == [images[0].label, images[2].label]


def test_each_shard_ends_with_one_last_event(store: Store) -> None:
    for evil in ("", "error"):
        for events in events_of(store, evil=evil):
            assert [event.kind in LAST for event in events] == [False] * (len(events) - 1) + [True]


def test_a_cancelled_shard_says_so(store: Store) -> None:
    payload = attack_job(store)
    images = prepared(4)
    shard = plan_shards(payload, [i.original for i in images], [i.label for i in images], None, threads=1)[0]
    events: list[Event] = []
    run_shard(shard.to_bytes(), events.append, lambda: len(events) >= 4)
    assert (events[-1].kind, events[-1].values["reason"]) == ("failed", "cancelled")


def test_a_plan_holds_every_update_once_within_the_slots(store: Store) -> None:
    payload = attack_job(store, 100, restarts=4, controls=3)
    plans = plan_attack(payload, [i % 10 for i in range(100)])
    attacked = [plan for plan in plans if plan.role == "attack"]
    assert [u for plan in attacked for u in plan.targets] == list(range(100))
    assert all(len(plan.targets) * 4 <= IMAGE_SLOTS for plan in plans)
    for role in ("mismatched", "prior"):
        assert [u for plan in plans if plan.role == role for u in plan.targets] == [0, 1, 2]
    donors = next(plan for plan in plans if plan.role == "mismatched").donors
    assert all(donor != target for donor, target in zip(donors, (0, 1, 2), strict=True))


def test_a_single_update_has_no_mismatched_control(store: Store) -> None:
    assert [plan.role for plan in plan_attack(attack_job(store, 1), [3])] == ["attack", "prior"]


def test_copies_of_the_target_are_no_donors(store: Store) -> None:
    payload = attack_job(store, 4, controls=3)
    one, other, *_ = payload.original_hashes

    def mismatched(hashes: tuple[str, ...]) -> list[ShardPlan]:
        plans = plan_attack(replace(payload, original_hashes=hashes), [5, 5, 5, 5])
        assert [p.targets for p in plans if p.role == "prior"] == [(0, 1, 2)]  # the prior alone needs no donor
        return [p for p in plans if p.role == "mismatched"]

    assert mismatched((one, one, one, other)) == [ShardPlan("mismatched", (0, 1, 2), (3, 3, 3))]
    assert mismatched((one, one, other, other)) == [ShardPlan("mismatched", (0, 1, 2), (2, 2, 0))]
    assert mismatched((one,) * 4) == []
    batched = replace(payload, threat=replace(payload.threat, batch_size=2), controls=2)
    assert [p.role for p in plan_attack(replace(batched, original_hashes=(one, other, other, one)), [0] * 4)] == [
        "attack",
        "prior",
        "easy",
    ]


def test_a_target_without_a_donor_leaves_the_others_their_control(store: Store) -> None:
    # updates (a, b), (c, d), (c, a), (b, e): the third shares with 0 and 1, the last with 0; 0 takes 1 and 1 takes 3
    payload = attack_job(store, 8, batch=2, controls=4)
    a, b, c, d, e, *_ = payload.original_hashes
    plans = plan_attack(replace(payload, original_hashes=(a, b, c, d, c, a, b, e)), [0] * 8)
    assert [p for p in plans if p.role == "mismatched"] == [ShardPlan("mismatched", (0, 1, 2, 3), (1, 3, 3, 1))]
    # updates (a, b), (a, c), (c, d), (b, c): only the first and the third have no picture in common
    plans = plan_attack(replace(payload, original_hashes=(a, b, a, c, c, d, b, c)), [0] * 8)
    assert [p for p in plans if p.role == "mismatched"] == [ShardPlan("mismatched", (0, 2), (2, 0))]


def test_large_images_are_planned_one_by_one(store: Store) -> None:
    payload = attack_job(store, 3)
    payload = replace(payload, model=replace(payload.model, height=512, width=512))
    assert [len(plan.targets) for plan in plan_attack(payload, [0, 1, 2]) if plan.role == "attack"] == [1, 1, 1]


def test_halves_hold_what_the_whole_held() -> None:
    first, second = split(ShardPlan("mismatched", (4, 5, 6), (7, 8, 9)))
    assert (first.targets + second.targets, first.donors + second.donors) == ((4, 5, 6), (7, 8, 9))
    assert split(ShardPlan("prior", (1,))) is None
    assert [p for plan in plan_score(["attacked"] * 600) for p in plan.targets] == list(range(600))
    mixed = plan_score(["attacked", "source"] * 300)  # never both in one shard, and none lost
    assert [len(plan.targets) for plan in mixed] == [256, 44, 256, 44]
    assert [{place % 2 for place in plan.targets} for plan in mixed] == [{0}, {0}, {1}, {1}]


def progress(told: list[Event], seconds: float = 1e9) -> WorkerProgress:
    return WorkerProgress(
        told.append,
        lambda: False,
        checkpoint=b"saved",
        checkpoint_number=4,
        checkpoint_seconds=seconds,
        previews=True,
    )


def test_the_curve_is_thinned_and_keeps_its_end() -> None:
    import torch

    told: list[Event] = []
    talk = progress(told)
    for done in range(1, 8001):
        talk.step(done, 8000, torch.tensor([[3.0, 1.0], [math.nan, 2.0]]))
    curve = [event for event in told if event.values["curve"]]
    # 200 points at every 40th step, and the very first step
    assert [event.values["step"] for event in curve] == [1, *range(40, 8001, 40)]
    assert all(event.arrays["losses"].tolist() == [1.0, 2.0] for event in curve)  # best restart, NaN never the best


def test_frames_are_few_and_checkpoints_numbered_onwards() -> None:
    told: list[Event] = []
    talk = progress(told, seconds=0.0)
    assert talk.resume() == b"saved"
    frame = np.zeros((1, 1, 2, 2, 3), np.uint8)
    for done in range(1, 101):
        if talk.preview_due(done, 100):
            talk.preview(done, frame)
    # 0 %, 2 %, 5 %, … of 100 steps; 0 % shows at the first step
    assert [event.values["step"] for event in told] == [1, 2, 5, 10, 20, 35, 50, 75]
    told.clear()
    for done in (101, 102):
        assert talk.checkpoint_due()
        talk.checkpoint(done, b"state")
    assert [event.values["number"] for event in told] == [5, 6]
    assert told[0].arrays["state"].tobytes() == b"state"


def test_a_net_with_short_steps_gets_one_thread() -> None:
    assert useful_threads("lenet", 8) == 1
    assert useful_threads("convnet", 8) == 8
