"""Train a victim by a recipe, resumable to the same bytes: `fit`."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import UserError
from core.models.build import build_model
from core.models.spec import ModelSpec
from core.models.training import draws, state
from core.models.training.arithmetic import exact
from core.models.training.checks import check_images, check_recipe
from core.models.training.feed import Feed, as_tensor
from core.models.training.private import PrivateStepper
from core.models.training.progress import EpochRow, OtherDevice, Trained, TrainingCancelled, TrainingProgress
from core.models.training.recipe import Recipe
from core.models.training.schedule import learning_rate, steps_per_epoch
from core.models.training.secret import draw_key
from core.models.training.stepper import PlainStepper, Stepper
from core.models.training.watch import LossWatch, Silent, diverged, other_device, warnings_of

HELD_OUT_BATCH = 256


def fit(
    spec: ModelSpec,
    images: np.ndarray,
    labels: np.ndarray,
    held_images: np.ndarray,
    held_labels: np.ndarray,
    recipe: Recipe,
    *,
    weights: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
    progress: TrainingProgress | None = None,
    key: int | None = None,
) -> Trained:
    """Train spec's model on images (N, H, W, C) uint8 with labels (N,) int64, classes of the spec.

    key: the secret that DP-SGD draws sampling and noise from (core.models.training.secret); None: a new one, so that
    only a training that is given its key again resumes to the same bytes.
    The held-out images, which may be none, are only looked at. weights: a state dict to start from instead of the
    spec's drawn one. The caller sets the number of threads. A resumed training on the CPU ends in the same bytes as an
    uninterrupted one with as many threads. After a resume `epoch` and `kept` may be told again what they were told.
    Raises UserError for what cannot be trained, or when the loss is no longer a number; OtherDevice for a checkpoint of
    another kind of device; TrainingCancelled, after a checkpoint, when progress asks for it.
    """
    check_recipe(recipe, spec, len(labels), device)
    check_images(spec, images, labels, "training")
    check_images(spec, held_images, held_labels, "held-out")
    if recipe.start == "imagenet" and weights is None:
        raise UserError("The recipe starts from ImageNet's weights, and none came; fetch them, or set start to drawn.")
    with exact():
        data = _Data(images, labels, held_images, held_labels)
        try:
            return _Training(spec, data, recipe, weights, torch.device(device), progress or Silent(), key).run()
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"The training does not fit into the memory of {device}; lower batch_size (now {recipe.batch_size:,}), "
                "or take a smaller model or smaller images."
            ) from error


@dataclass(frozen=True)
class _Data:
    images: np.ndarray
    labels: np.ndarray
    held_images: np.ndarray
    held_labels: np.ndarray


class _Training:
    """One training under way: counters, the sums of the epoch so far, and what moves the weights."""

    def __init__(
        self,
        spec: ModelSpec,
        data: _Data,
        recipe: Recipe,
        weights: Mapping[str, Tensor] | None,
        device: torch.device,
        progress: TrainingProgress,
        key: int | None,
    ) -> None:
        self.spec, self.data, self.recipe, self.device, self.progress = spec, data, recipe, device, progress
        self.count = len(data.labels)
        self.model = build_model(spec, weights).to(device)
        self.feed = Feed(spec, data.images, data.labels, recipe, device)
        self.stepper: Stepper
        self._key = draw_key() if key is None else key
        if recipe.defence == "dp-sgd":
            self.stepper = PrivateStepper(self.model, recipe, device, self.count, self._key)
        else:
            self.model = _in_layout(self.model)
            self.stepper = PlainStepper(self.model, recipe, device)
        self.per_epoch = steps_per_epoch(recipe, spec, self.count)
        self.total = recipe.epochs * self.per_epoch
        self.done = 0  # steps
        self.seconds = 0.0  # of computing, over all sessions
        self.rows: list[EpochRow] = []
        self._order: tuple[int, np.ndarray] | None = None
        self._known = ""  # the fingerprint, once it was asked for
        self._start_epoch()

    def _start_epoch(self) -> None:
        # On the device, so that no step waits: loss × images, right answers, gradient norms, and how many of these.
        self.sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        self.seen = 0  # images
        self.epoch_seconds = 0.0

    def run(self) -> Trained:
        """From the start or the checkpoint to the end."""
        checkpoint = self.progress.resume()
        if checkpoint is not None:
            self._restore(checkpoint)
            if self.done == (len(self.rows) + 1) * self.per_epoch:  # it was stopped while it looked at held-out images
                self._end_epoch()
        watch = LossWatch(self.recipe, self.per_epoch, self.device)
        self.model.train()
        started = time.perf_counter()
        while self.done < self.total:
            loss = self._step()
            self.progress.step(self.done, self.total, watch.seen(self.done, loss))
            ended = self.done % self.per_epoch == 0
            due, cancelled = self.progress.checkpoint_due(), self.progress.cancelled()
            if not (ended or due or cancelled):
                continue
            watch.settle(self.done, loss)  # waits for the device
            self.epoch_seconds += time.perf_counter() - started
            if ended:
                self._end_epoch()
            if due or cancelled:
                self.progress.checkpoint(self.done, self._save())
            if cancelled and self.done < self.total:
                raise TrainingCancelled
            started = time.perf_counter()
        return self._trained()

    def _step(self) -> Tensor:
        rows = self._rows_of(self.done)
        batch = self.feed.batch(rows, self.done)
        result = self.stepper.step(batch, self.done, learning_rate(self.recipe, self.done, self.per_epoch))
        # An fp16 step whose gradient overflowed is skipped by the scaler, and an empty one has none: not counted.
        there = result.norm.isfinite()
        norm = torch.where(there, result.norm, 0.0)
        self.sums += torch.stack([result.loss * len(rows), result.correct, norm, there]).double()
        self.seen += len(rows)
        self.done += 1
        return result.loss

    def _rows_of(self, step: int) -> np.ndarray:
        size = self.recipe.batch_size
        if self.recipe.defence == "dp-sgd":
            return draws.poisson(self._key, step, self.count, size / self.count)
        epoch, place = divmod(step, self.per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, draws.order(self.recipe.seed, epoch, self.count))
        return self._order[1][place * size : (place + 1) * size]

    def _end_epoch(self) -> None:
        loss, correct, norm, steps = self.sums.tolist()
        epoch = self.done // self.per_epoch
        started = time.perf_counter()
        held_loss, held_accuracy = self._look()
        row = EpochRow(
            epoch=epoch,
            learning_rate=learning_rate(self.recipe, self.done - 1, self.per_epoch),
            train_loss=loss / self.seen if self.seen else math.nan,
            train_accuracy=correct / self.seen if self.seen and not self.recipe.mixup else math.nan,
            held_out_loss=held_loss,
            held_out_accuracy=held_accuracy,
            gradient_norm=norm / steps if steps else math.nan,
            images_per_second=self.seen / self.epoch_seconds,
            epsilon=self.stepper.epsilon(),
        )
        self.seconds += self.epoch_seconds + time.perf_counter() - started
        self.rows.append(row)
        self._start_epoch()
        self.progress.epoch(row)
        if epoch in self.recipe.kept:
            self.progress.kept(row, self._weights())

    @torch.no_grad()
    def _look(self) -> tuple[float, float]:
        """Mean loss and accuracy on the held-out images in eval mode; NaN without any.

        Gives signs of life, and stops behind a checkpoint when asked to: the epoch then ends in the next session.
        """
        images, labels = self.data.held_images, self.data.held_labels
        if not len(labels):
            return math.nan, math.nan
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        for start in range(0, len(labels), HELD_OUT_BATCH):
            self.progress.looking()
            if self.progress.cancelled():
                self.progress.checkpoint(self.done, self._save())
                raise TrainingCancelled
            part = as_tensor(images[start : start + HELD_OUT_BATCH]).to(self.device)
            right = as_tensor(labels[start : start + HELD_OUT_BATCH]).to(self.device)
            logits = self.model(self.feed.normalised(part))
            loss = nn.functional.cross_entropy(logits, right, reduction="sum")
            sums += torch.stack([loss.double(), (logits.argmax(1) == right).sum().double()])
        self.model.train()
        loss_sum, correct = sums.tolist()
        return loss_sum / len(labels), correct / len(labels)

    def _weights(self) -> dict[str, Tensor]:
        return {name: t.detach().to("cpu", copy=True).contiguous() for name, t in self.model.state_dict().items()}

    def _trained(self) -> Trained:
        weights = self._weights()
        if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
            raise UserError(diverged(self.recipe, self.done, self.per_epoch))
        return Trained(weights, tuple(self.rows), self._record())

    def _record(self) -> dict[str, Any]:
        norm = self.rows[-1].gradient_norm
        return {
            "steps": self.total,
            "seconds": self.seconds,
            "device": str(self.device),
            "precision": self.recipe.precision,
            "tf32": False,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "images": self.count,
            "held_out": len(self.data.held_labels),
            "gradient_norm": norm,
            "privacy": self.stepper.privacy(),
            "warnings": warnings_of(self.recipe, self.count, norm),
        }

    def _fingerprint(self) -> str:
        """Of the question: a checkpoint of another training is not gone on from."""
        if self._known:
            return self._known
        asked = json.dumps([self.spec.to_json(), self.recipe.to_dict()], sort_keys=True)
        digest = hashlib.sha256(asked.encode())
        for array in (self.data.images, self.data.labels):
            digest.update(f"{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        self._known = digest.hexdigest()
        return self._known

    def _save(self) -> bytes:
        tensors, rest = self.stepper.save()
        weights = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        header = {
            "fingerprint": self._fingerprint(),
            "device": self.device.type,
            "done": self.done,
            "seen": self.seen,
            "seconds": self.seconds,
            "epoch_seconds": self.epoch_seconds,
            "rows": [asdict(row) for row in self.rows],
            "stepper": rest,
        }
        return state.pack(header, {**tensors, **weights, "sums": self.sums})

    def _restore(self, data: bytes) -> None:
        header, tensors = state.unpack(data)
        if header["fingerprint"] != self._fingerprint():
            raise ValueError("This checkpoint is of another training: other images, another recipe or another model.")
        if header["device"] != self.device.type:
            raise OtherDevice(other_device(header["device"], self.device.type))
        saved = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(saved)
        self.stepper.restore(tensors, header["stepper"])
        self.sums = tensors["sums"].to(self.device)
        self.done, self.seen = header["done"], header["seen"]
        self.seconds, self.epoch_seconds = header["seconds"], header["epoch_seconds"]
        self.rows = [EpochRow(**row) for row in header["rows"]]


def _in_layout(model: nn.Module) -> nn.Module:
    """Four-dimensional weights in memory order NHWC, which convolutions on the CPU and in half precision like best."""
    result: nn.Module = model.to(memory_format=torch.channels_last)
    return result
