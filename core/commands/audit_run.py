"""The audit itself, in this process and without a store: the same shards as the runner's, one after the other."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from core.errors import UserError
from core.jobs.compose import AttackRequest, defend
from core.jobs.events import Event
from core.jobs.plan import ShardPlan

ROLES = {
    "attack": "attack",
    "mismatched": "control: wrong gradient",
    "prior": "control: prior alone",
    "easy": "control: easy case",
}


@dataclass(frozen=True)
class Row:
    """One reconstruction beside its original."""

    role: str
    name: str
    label: int
    original: np.ndarray  # (H, W, C) uint8
    reconstruction: np.ndarray  # (H, W, C) uint8
    loss: float
    iterations: int
    seconds: float
    status: str
    nearest: str = ""  # of an attack on the model alone: the original of its class that it is compared with


@dataclass(frozen=True)
class AuditResult:
    """All rows, their scores by metric (aligned with rows), and how it was run."""

    rows: list[Row]
    scores: dict[str, list[tuple[Any, str]]]  # value (float, "inf", "-inf" or None) and reason
    payload: dict[str, Any]
    records: list[dict[str, Any]]
    scoring: dict[str, Any]  # metric versions, weights' hashes
    warnings: list[str] = field(default_factory=list)
    source_scores: dict[str, list[tuple[Any, str]]] = field(default_factory=dict)  # of the attack's rows, in their
    # order, against the pictures before the input defences; empty where those changed none


def attack_and_score(request: AttackRequest, *, bar: bool = False) -> AuditResult:
    """Run every shard of the request, then score all that came back. Raises UserError; shows bars if asked."""
    import hashlib

    from core.attacks import configure
    from core.jobs.devices import room
    from core.jobs.payloads import AttackJob
    from core.jobs.plan import check_payload, plan_attack
    from core.settings import load_settings

    settings = load_settings()
    before, request = request, defend(request)
    pixels = [image.original for image in request.prepared]
    labels = [image.label for image in request.prepared]
    payload = AttackJob(
        model=request.spec,
        originals=tuple(range(len(pixels))),
        original_hashes=tuple(hashlib.sha256(p.tobytes()).hexdigest() for p in pixels),
        attack=request.attack,
        config=asdict(configure(request.attack, dict(request.config))),
        threat=request.threat,
        seed=request.seed,
        controls=request.controls,
        device=settings.device if request.device == "auto" else request.device,
    )
    check_payload(payload)
    rows: list[Row] = []
    records, warnings = [], []
    plans = plan_attack(payload, labels, room(replace(settings, executor="inline"), payload.device))
    with _Bar(bar) as show:
        while plans:
            plan = plans.pop(0)
            done = _run_shard(payload, plan, pixels, labels, request.weights, settings.threads, show)
            if isinstance(done, list):  # out of memory: its halves instead
                plans = done + plans
                continue
            facts, result = done
            records.append({"role": plan.role, "targets": list(plan.targets), **result.values["record"]})
            warnings += [w for w in facts.values["warnings"] if w and plan.role == "attack"]
            rows += _rows(request, plan, result)
    scores, scoring = _score(request, rows, settings.threads)
    of_source = _score_against(before, request, rows, settings.threads)
    return AuditResult(rows, scores, asdict(payload), records, scoring, warnings, of_source)


def _run_shard(
    payload: Any,
    plan: ShardPlan,
    pixels: list[np.ndarray],
    labels: list[int],
    weights: bytes | None,
    threads: int,
    show: Callable[[str, Event], None],
) -> tuple[Event, Event] | list[ShardPlan]:
    """(facts, reconstructions), or two smaller plans when memory ran out."""
    from core.jobs.plan import split
    from core.jobs.shards import attack_shard, run_shard

    last: dict[str, Event] = {}

    def hear(event: Event) -> None:
        if event.kind in ("facts", "reconstructions", "failed"):
            last[event.kind] = event
        show(plan.role, event)

    run_shard(attack_shard(payload, plan, pixels, labels, weights, threads=threads).to_bytes(), hear, lambda: False)
    if "reconstructions" in last:
        return last["facts"], last["reconstructions"]
    problem = last["failed"].values
    halves = split(plan) if problem["reason"] == "memory" else None
    if halves is None:
        raise UserError(problem["sentence"])
    return list(halves)


def _rows(request: AttackRequest, plan: ShardPlan, result: Event) -> list[Row]:
    from core.leakage.pairing import pair_batches

    if request.threat.update == "none":
        return _rows_of_classes(request, plan, result)
    size = request.threat.batch_size
    arrays, count = result.arrays, len(plan.targets)
    groups = [request.prepared[u * size : (u + 1) * size] for u in plan.targets]
    if plan.role == "easy":  # the first image of each update alone
        size, groups = 1, [group[:1] for group in groups]
    originals = np.stack([np.stack([image.original for image in group]) for group in groups])
    pairing = pair_batches(originals, arrays["images"])
    rows = []
    for n, group in enumerate(groups):
        restart = int(arrays["chosen"][n])
        for place in range(size):
            image = group[int(pairing.permutation[n, restart, place])]
            rows.append(
                Row(
                    plan.role,
                    image.name,
                    image.label,
                    image.original,
                    arrays["images"][n, restart, place],
                    float(arrays["losses"][n, restart]),
                    int(arrays["iterations"][n, restart]),
                    result.values["seconds"] / (count * size),
                    result.values["status"][n],
                )
            )
    return sorted(rows, key=lambda row: [image.name for image in request.prepared].index(row.name))


def _rows_of_classes(request: AttackRequest, plan: ShardPlan, result: Event) -> list[Row]:
    """What was made from the model alone, each beside the nearest original of its class; in the order of the slots."""
    from core.leakage.pairing import pair_nearest

    arrays, prepared, size = result.arrays, request.prepared, request.threat.batch_size
    classes = np.array([[prepared[u * size + b].label for b in range(size)] for u in plan.targets])
    originals, labels = [image.original for image in prepared], [image.label for image in prepared]
    pairing = pair_nearest(originals, labels, arrays["images"], classes)
    rows = []
    for n, b in np.ndindex(*classes.shape):
        restart, slot = int(arrays["chosen"][n]), prepared[plan.targets[n] * size + b]
        nearest = prepared[int(pairing.permutation[n, restart, b])]
        rows.append(
            Row(
                plan.role,
                slot.name,
                nearest.label,
                nearest.original,
                arrays["images"][n, restart, b],
                float(arrays["losses"][n, restart]),
                int(arrays["iterations"][n, restart]),
                result.values["seconds"] / classes.size,
                result.values["status"][n],
                nearest.name,
            )
        )
    return rows


def _score_against(before: AttackRequest, request: AttackRequest, rows: list[Row], threads: int) -> dict[str, Any]:
    """Scores of the attack's rows against the pictures before the input defences; {} where those changed none."""
    from core.metrics.registry import METRICS

    sources = {image.name: image.original for image in before.prepared}
    if all(np.array_equal(sources[image.name], image.original) for image in request.prepared):
        return {}
    attack = [replace(row, original=sources[row.nearest or row.name]) for row in rows if row.role == "attack"]
    names = tuple(name for name, metric in METRICS.items() if not metric.diagnostic)
    return _score(request, attack, threads, names)[0]


def _score(
    request: AttackRequest, rows: list[Row], threads: int, metrics: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    from core.jobs.shards import ScoreShard, run_shard

    def rgb(images: list[np.ndarray]) -> np.ndarray:
        stacked = np.stack(images)
        return np.repeat(stacked, 3, axis=-1) if stacked.shape[-1] == 1 else stacked

    classes = _classes(request)
    shard = ScoreShard(
        rgb([row.original for row in rows]),
        rgb([row.reconstruction for row in rows]),
        np.array([row.label for row in rows], dtype=np.int64),
        metrics,
        request.spec,
        request.weights,
        threads=threads,
        losses=np.array([row.loss for row in rows]),
        classes=tuple(classes[row.nearest or row.name] for row in rows),
        names=tuple(row.nearest or row.name for row in rows),
    )
    events: list[Event] = []
    run_shard(shard.to_bytes(), events.append, lambda: False)
    final = events[-1]
    if final.kind != "scores":
        raise UserError(f"The reconstructions could not be scored: {final.values['sentence']}")
    values = final.values
    return values["scores"], {"versions": values["versions"], "weights": values["weights"]}


def _classes(request: AttackRequest) -> dict[str, str | None]:
    """The true class of each original, by names."""
    from core.jobs.material import true_class

    return {p.name: true_class(p.class_name, p.label, p.label_source, request.spec) for p in request.prepared}


class _Bar:
    """A progress bar on a terminal; silent elsewhere."""

    def __init__(self, wanted: bool) -> None:
        self._wanted, self._bar, self._role = wanted, None, ""

    def __enter__(self) -> Callable[[str, Event], None]:
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _show(self, role: str, event: Event) -> None:
        if not self._wanted or event.kind not in ("progress", "reconstructions"):
            return
        from tqdm import tqdm

        if self._bar is None or role != self._role:
            self.__exit__()
            self._bar, self._role = tqdm(desc=ROLES[role], unit=" steps"), role
        if event.kind == "progress" and self._bar is not None:
            self._bar.total = event.values["total"]
            self._bar.n = event.values["step"]
            self._bar.set_postfix(median_loss=f"{float(np.median(event.arrays['losses'])):.3g}", refresh=True)
