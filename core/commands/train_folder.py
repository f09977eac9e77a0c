"""`python -m core train --out DIR`: the very shard that the runner would run, in this process, into a folder."""

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from core.commands.train_output import curve_table, epoch_line, privacy_lines, read_curve
from core.errors import UserError
from core.jobs.events import Event
from core.jobs.payloads import TrainJob, identity, to_json
from core.jobs.prepared import forget_prepared, prepared_images
from core.jobs.shards import TrainShard, run_shard
from core.jobs.sources import still
from core.jobs.train_work import start_weights, trained_facts
from core.jobs.training import TITLE, TrainRequest, check_training, training_title
from core.models.training.privacy import CURVE_NOTE, covered
from core.models.training.recipe import Recipe
from core.models.training.secret import kept_key
from core.settings import Settings
from core.storage.artifacts import write_atomically

ASKED, CHECKPOINT, CURVE = "training.json", "checkpoint.bin", "curve.csv"
KEY = "secret.key"  # of a private training, until it is done
WEIGHTS, MODEL = "model.safetensors", "model.json"
STOPPED = 130  # exit status after Ctrl-C, as a shell gives it


def train_into(folder: Path, request: TrainRequest, settings: Settings) -> int:
    """Train, or go on with the training that was begun in the folder. Raises UserError; 0 when it is done."""
    fixed = check_training(settings, request)
    payload = TrainJob(model=fixed.spec, data=fixed.data, recipe=fixed.recipe.to_dict(), device=fixed.device)
    if _opened(folder, payload):
        print(f"{folder} holds this very training, done.")
        return 0
    forget_prepared(settings)
    images = prepared_images(settings, payload.data, payload.model, still)
    checkpoint = folder / CHECKPOINT
    shard = TrainShard(
        spec=payload.model,
        recipe=payload.recipe,
        images=images.images,
        labels=images.labels,
        held_images=images.held_images,
        held_labels=images.held_labels,
        weights=start_weights(payload, settings, None),
        key=kept_key(folder / KEY) if fixed.recipe.defence == "dp-sgd" else None,
        device=settings.device if payload.device == "auto" else payload.device,
        threads=settings.threads,
        checkpoint=checkpoint.read_bytes() if checkpoint.is_file() else None,
        checkpoint_seconds=settings.checkpoint_seconds,
    )
    print(f"{training_title(fixed).removeprefix(TITLE)}: {len(images.labels):,} images to train on", end="")
    print(f", {len(images.held_labels):,} held out" + (", going on from a checkpoint" if shard.checkpoint else ""))
    into = _Folder(folder, payload, training_title(fixed).removeprefix(TITLE))
    with _stop_sign() as stopped:
        run_shard(shard.to_bytes(), into.take, stopped)
    return into.end()


def _opened(folder: Path, payload: TrainJob) -> bool:
    """Make the folder this training's; True when it is done already. UserError where it holds something else."""
    asked, name = folder / ASKED, identity(payload)
    if asked.is_file():
        if json.loads(asked.read_text(encoding="utf-8"))["identity"] != name:
            raise UserError(
                f"{folder} holds another training; choose a new folder, or repeat the command that began it."
            )
        return (folder / MODEL).is_file()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty and holds no training; choose a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"identity": name, "request": json.loads(to_json(payload))}, indent=2)
        write_atomically(asked, text.encode())
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error
    return False


class _Folder:
    """Writes what the shard says; each file is there whole or not at all."""

    def __init__(self, folder: Path, payload: TrainJob, name: str) -> None:
        self._folder, self._payload, self._name = folder, payload, name
        curve = folder / CURVE
        rows = read_curve(curve.read_text(encoding="utf-8")) if curve.is_file() else []
        self._rows: dict[int, dict[str, Any]] = {row["epoch"]: row for row in rows}
        self._last: Event | None = None

    def take(self, event: Event) -> None:
        """One event of the shard."""
        if event.kind == "epoch":
            row = event.values["row"]
            self._rows[int(row["epoch"])] = row
            print(epoch_line(row, Recipe.from_dict(self._payload.recipe)), flush=True)
            self._write(CURVE, curve_table(list(self._rows.values())).encode())
        elif event.kind == "checkpoint":
            self._write(CHECKPOINT, event.arrays["state"].tobytes())
        elif event.kind == "kept":
            self._write(f"epoch-{event.values['row']['epoch']}.safetensors", event.arrays["weights"].tobytes())
        elif event.kind in ("trained", "failed"):
            self._last = event

    def end(self) -> int:
        """The shard is over: write its result, or say why there is none."""
        event = self._last
        if event is None:
            raise UserError("The training ended without a word; repeat the command to go on.")
        if event.kind == "failed":
            if event.values["reason"] == "cancelled":
                print("stopped; repeat the command to go on")
                return STOPPED
            raise UserError(event.values["sentence"])
        weights = event.arrays["weights"].tobytes()
        self._write(CURVE, curve_table(event.values["rows"]).encode())
        self._write(WEIGHTS, weights)
        sha = hashlib.sha256(weights).hexdigest()
        spec = replace(self._payload.model, weights_sha256=sha, origin=f"trained: {self._name}")
        facts, record = trained_facts(self._payload, event.values["rows"][-1], event.values), event.values["record"]
        private = record.get("privacy") is not None
        model = {
            "name": self._name,
            "spec": json.loads(spec.to_json()),
            "facts": covered(facts) if private else facts,
            "record": covered(record) if private else record,
        }
        self._write(MODEL, json.dumps(model, indent=2, sort_keys=True).encode())
        for name in (CHECKPOINT, KEY):
            (self._folder / name).unlink(missing_ok=True)
        for warning in [*record.get("warnings", ()), *([CURVE_NOTE] if private else [])]:
            print(f"note: {warning}")
        rate = (record.get("privacy") or {}).get("sampling_rate")
        for line in privacy_lines(event.values["rows"][-1], Recipe.from_dict(self._payload.recipe), rate):
            print(line)
        print(f"{self._folder / WEIGHTS}  {len(weights) / 1024:,.0f} KiB")
        return 0

    def _write(self, name: str, data: bytes) -> None:
        write_atomically(self._folder / name, data)


@contextmanager
def _stop_sign() -> Iterator[Callable[[], bool]]:
    """Up once the user or the system asks to end: the training then stops behind a checkpoint."""
    asked: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    kept = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
