"""How much of a run's time the app spends outside of the attack: `python -m benchmarks.overhead`.

    python -m benchmarks.overhead --model lenet --attack inverting-gradients --images 64 --set steps=400
    python -m benchmarks.overhead --executor dask --model convnet --images 256 --set restarts=2 --device cuda

A real run in an empty home: submitted, claimed by a runner, cut into shards, computed, stored with previews, loss curve
and checkpoints. A first small run warms the workers up and is not counted. The attack's own time is what its shards'
loops took, without the reports that they make on the way. Scoring is a job of its own and is not part of it.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from core.jobs import executors
from core.jobs.compose import AttackRequest, preset_model, submit_attack
from core.jobs.results import read_record
from core.jobs.runner import Runner
from core.settings import load_settings
from core.storage import schema
from core.storage.store import Store, open_store

LIMIT = 0.05  # of a run's time may be spent outside of the attack


@dataclass
class Split:
    """Seconds of one run."""

    wall: float = 0.0  # from the claim to the last stored row
    loops: float = 0.0  # the attacks' own figure, reports included
    reports: float = 0.0  # made by the loops on the way: curve, previews, checkpoints, a look at the cancel flag
    shards: float = 0.0  # unpacking, model, updates, attack, packing; known for the inline executor alone
    runner: float = 0.0  # CPU time of the runner's thread, beside the shards

    @property
    def outside(self) -> float:
        """Share of the wall time that was not the attack."""
        return 1 - (self.loops - self.reports) / self.wall


def main() -> None:
    """Run, and print the split."""
    options = parse()
    os.environ |= {"SEMSIGHT_EXECUTOR": options.executor, "SEMSIGHT_DEVICE": options.device, "SEMSIGHT_PROBE": "off"}
    os.environ |= {"SEMSIGHT_THREADS": str(options.threads), "SEMSIGHT_CHECKPOINT_SECONDS": str(options.checkpoint)}
    split = Split()
    watch(split)
    with tempfile.TemporaryDirectory() as home:
        os.environ["SEMSIGHT_HOME"] = home
        store = open_store(load_settings())
        runner = Runner(store)
        settings = dict(pair.split("=", 1) for pair in options.set)
        run(store, runner, request(options, 2, {**settings, "steps": "4"}))
        split.reports = split.shards = 0.0
        job = run(store, runner, request(options, options.images, settings), split)
        told = stored(store, job)
        runner.ending = True
        runner._workers().close()
    print(f"{options.images} images, {options.attack} on {options.model}, {options.executor} executor, ", end="")
    print(f"{options.threads} threads, load {os.getloadavg()[0]:.1f}: {told}\n")
    tell(split, inline=options.executor == "inline")


def tell(split: Split, *, inline: bool) -> None:
    """The table."""
    attack = split.loops - split.reports if inline else split.loops
    rows = [("whole run", split.wall), ("attack", attack)]
    if inline:
        rows += [
            ("reports from within the loops", split.reports),
            ("shards beside their loops: unpacking, model, updates", split.shards - split.loops),
            ("runner beside the shards: storage, waiting", split.wall - split.shards),
        ]
    else:
        rows.append(("all else; reports from within the loops count as attack", split.wall - split.loops))
    rows.append(("CPU time of the runner's thread, beside the shards", split.runner))
    print("| part | seconds | share |\n| --- | ---: | ---: |")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.2f} | {seconds / split.wall:.1%} |")
    print(f"\nOutside of the attack: {split.outside:.1%} (limit {LIMIT:.0%}).")


def run(store: Store, runner: Runner, asked: AttackRequest, split: Split | None = None) -> int:
    """Submit and run one attack; its job's id."""
    job = submit_attack(store, asked).job_id
    one = schema.jobs.c.id == job
    began = time.thread_time()
    while True:
        runner.turn()
        with store.database.read() as connection:
            row = connection.execute(select(schema.jobs).where(one)).one()
            record = read_record(connection, job)
        if row.state in ("done", "failed"):
            break
    if row.state == "failed":
        raise SystemExit(row.error)
    if split is not None:
        split.wall, split.loops = row.finished - row.started, record["seconds"]
        split.runner = time.thread_time() - began
    return job


def watch(split: Split) -> None:
    """Take the time of the reports and of the shards of this process."""
    from core.attacks.engine import Reporter

    def timed(work: Callable[..., Any], name: str) -> Callable[..., Any]:
        def wrapper(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments)
            finally:
                setattr(split, name, getattr(split, name) + time.perf_counter() - began)

        return wrapper

    Reporter.after = timed(Reporter.after, "reports")  # type: ignore[method-assign]
    executors.run_shard = timed(executors.run_shard, "shards")


def request(options: argparse.Namespace, images: int, settings: dict[str, str]) -> AttackRequest:
    """An attack on pictures of the sample set, over and over where there are too few."""
    from dataclasses import replace

    from core.images.load import load_images

    spec, weights = preset_model(options.model)
    found = load_images("lfw", spec=spec, limit=min(images, 64))
    prepared = tuple(replace(found[n % len(found)], name=f"{n}-{found[n % len(found)].name}") for n in range(images))
    return AttackRequest(
        spec, options.model, weights, "lfw", prepared, options.attack, settings, controls=0, device=options.device
    )


def stored(store: Store, job: int) -> str:
    """What the run left behind."""
    count = func.count()
    mine = select(schema.shards.c.id).where(schema.shards.c.job_id == job)
    with store.database.read() as connection:
        shards = connection.execute(select(count).select_from(mine.subquery())).scalar_one()
        points, frames = (
            connection.execute(select(count).where(table.c.shard_id.in_(mine))).scalar_one()
            for table in (schema.job_progress, schema.previews)
        )
        row = connection.execute(
            select(func.max(schema.shards.c.checkpoint_version)).where(schema.shards.c.job_id == job)
        )
        kept = row.scalar_one()
    return f"{shards} shards, {points} points of the curve, {frames} previews, {kept} checkpoints of a shard at most"


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--attack", default="inverting-gradients")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the attack")
    parser.add_argument("--executor", default="inline", choices=("inline", "dask"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoint", type=float, default=20.0, help="seconds between two checkpoints")
    return parser.parse_args()


if __name__ == "__main__":
    main()
