"""What the first updates of a run would share, measured before it is launched: norms, and what a defence leaves.

A page never waits: `foresee` answers at once, from a file where it was measured, else it starts the measurement in a
process of its own (`core.jobs.foresight_child`) and says so. No torch here.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from core.attacks import ATTACKS, configure
from core.jobs.compose import AttackRequest, defend
from core.jobs.payloads import AttackJob
from core.jobs.plan import ShardPlan
from core.jobs.shards import attack_shard
from core.registry import look_up
from core.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
LOOKED_AT = 4  # updates that are measured
NEAR_ZERO = 1e-4  # the norm below which core.leakage.victim warns
LITTLE_LEFT = 0.1  # cosine of the shared with the undefended update from which on little of its direction is left
GIVEN_UP = 180.0  # seconds after which a measurement without an answer is started again
_children: list[subprocess.Popen[bytes]] = []  # of this process, so that they are reaped


@dataclass(frozen=True)
class Foresight:
    """sentences: what speaks against the run. measuring: not known yet, ask again. norm: median over the updates
    looked at, of what is shared; kept: median cosine of it with the undefended update (1 without a defence)."""

    sentences: tuple[str, ...] = ()
    measuring: bool = False
    norm: float | None = None
    kept: float | None = None


def foresee(settings: Settings, request: AttackRequest) -> Foresight:
    """What is known of the request's first updates, at once. Nothing is measured with SEMSIGHT_PROBE=off."""
    if request.threat.update == "none" or look_up(ATTACKS, request.attack, "attack").prepare is not None:
        return Foresight()  # nothing is shared, or it comes from a model that the server changes first
    folder = settings.home / "foresight"
    data = _shard(request)
    key = hashlib.sha256(data).hexdigest()[:24]
    answer = _read(folder / f"{key}.json")
    if answer is not None:
        return judge(answer, bool(request.threat.defences))
    if not settings.probe:
        return Foresight()
    asked = folder / f"{key}.shard"
    if not asked.exists() or time.time() - asked.stat().st_mtime > GIVEN_UP:
        folder.mkdir(parents=True, exist_ok=True)
        asked.write_bytes(data)
        _start(asked)
    return Foresight(measuring=True)


def judge(answer: dict[str, Any], defended: bool) -> Foresight:
    """Sentences for what was measured: {"norms", "kept"} a list each over updates, or {"problem": sentence}."""
    if answer.get("problem"):
        return Foresight((f"The first update could not be made: {answer['problem']}",))
    norms, kept = answer["norms"], answer["kept"]
    sentences = []
    broken = sum(norm is None for norm in norms)
    if broken:
        sentences.append(f"The gradient of {broken} of the first {len(norms)} updates is not finite: check the model.")
    small = sum(norm is not None and norm < NEAR_ZERO for norm in norms)
    if small:
        sentences.append(
            f"{small} of the first {len(norms)} updates have a gradient norm below {NEAR_ZERO:g}: the model fits these "
            "images almost perfectly, or is saturated. A failed attack would not show that they are safe."
        )
    finite = [norm for norm in norms if norm is not None]
    left = median(share for share in kept if share is not None) if any(share is not None for share in kept) else None
    if defended and left is not None and left < LITTLE_LEFT:
        sentences.append(
            f"The defence leaves little of the update's direction (cosine {left:.2f} with the undefended one), so this "
            "attack will hardly show anything; the easy case tells whether it works at all."
        )
    return Foresight(tuple(sentences), False, median(finite) if finite else None, left)


def _shard(request: AttackRequest) -> bytes:
    """The first updates as the worker would get them, after any defence on the input."""
    size = request.threat.batch_size
    updates = range(min(LOOKED_AT, len(request.prepared) // size))
    images = defend(replace(request, prepared=request.prepared[: len(updates) * size])).prepared
    payload = AttackJob(
        model=request.spec,
        originals=tuple(range(len(images))),
        original_hashes=(),
        attack=request.attack,
        config=asdict(configure(request.attack, {})),  # what is shared does not depend on the attack's settings
        threat=replace(request.threat, labels="known"),
        seed=request.seed,
        device="cpu",
    )
    pixels, labels = [image.original for image in images], [image.label for image in images]
    plan = ShardPlan("attack", tuple(updates))
    return attack_shard(payload, plan, pixels, labels, request.weights, threads=1).to_bytes()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found


def _start(asked: Path) -> None:
    _children[:] = [child for child in _children if child.poll() is None]
    _children.append(
        subprocess.Popen(
            [sys.executable, "-m", "core.jobs.foresight_child", str(asked)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )
