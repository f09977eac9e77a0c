"""Images divided out of the gradient of a fully connected layer that sees the image itself.

For a layer z = W x + b, each unit i has the gradients dW_i = Σ δ_in x_n and db_i = Σ δ_in over the images n of an
update (and over the steps of a FedAvg client): a unit on which one image alone acts gives it away as dW_i / db_i.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from core.attacks import engine
from core.attacks.base import Progress, Reconstructions
from core.attacks.labels import recover_labels
from core.attacks.labels import unreadable as unreadable_labels
from core.errors import UserError
from core.leakage.observation import Observation
from core.leakage.victim import normalise
from core.models.build import build_model

if TYPE_CHECKING:
    from core.attacks.analytic import AnalyticConfig

MOST_ROWS = 2048  # rows that are compared with each other; the strongest count
GRID = 0.1  # mean distance from 8-bit values, in their steps: 0 for an original, 1/4 for a mixture of several
SAME = 1 / 255  # candidates whose mean difference is below this are one image
APPROXIMATE = "read approximately: the result is not on the grid of 8-bit values"
NOTHING = "nothing to read: the first layer's gradient is {}"


@dataclass(frozen=True)
class Candidates:
    """M images that may be in an update. images: (M, D) on the [0, 1] scale, not clamped. energy: (M,) squared length
    of the gradient rows that each explains alone. rows: (M,) how many these are."""

    images: Tensor
    energy: Tensor
    rows: Tensor


@dataclass(frozen=True)
class Reading:
    """B images of one update, (B, D) on the [0, 1] scale. exact: how many are certain by the update alone. loss: share
    of the layer's gradient that the images do not explain. status: "ok", or what is missing."""

    images: Tensor
    exact: int
    loss: float
    status: str


def read_images(
    name: str,
    observation: Observation,
    config: AnalyticConfig,
    *,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
) -> Reconstructions:
    """The analytic attack: every update for itself, from the gradients of the first layer."""
    began = time.monotonic()
    layer = first_layer(observation)
    labels = known_labels(observation, config.label_rule)
    weights, biases = observation.gradients[f"{layer}.weight"], observation.gradients[f"{layer}.bias"]
    readings = [read_update(w.double(), b.double(), observation, config) for w, b in zip(weights, biases, strict=True)]
    return finish(name, observation, config, readings, labels, seed, progress, targets, began, {"layer": layer})


def known_labels(observation: Observation, rule: str) -> Tensor:
    """(N, B): the granted labels, or those that `rule` recovers."""
    return observation.labels if observation.labels is not None else recover_labels(observation, rule)


def first_layer(observation: Observation) -> str:
    """Name of the fully connected layer with a bias that sees the image itself; UserError when there is none."""
    spec = observation.spec
    model = build_model(spec, observation.weights)
    probe = torch.rand(2, spec.channels, spec.height, spec.width, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[str, nn.Module, Tensor]] = []

    def watch(name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _module, inputs: seen.append((name, module, inputs[0])))

    for name, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            watch(name, module)
    with torch.no_grad():
        model(probe)
    name, module, given = seen[0]
    what = f"this model's first layer ({name}) is a {type(module).__name__}"
    if (
        isinstance(module, nn.Linear)
        and given.shape == probe.flatten(1).shape
        and bool((given == probe.flatten(1)).all())
    ):
        if module.bias is not None:
            return name
        what = f"the first layer of this model ({name}) has none"
    raise UserError(
        f"This attack divides the image out of a fully connected first layer with a bias, and {what}; choose the model "
        "mlp, or another attack."
    )


def read_update(weight: Tensor, bias: Tensor, observation: Observation, config: AnalyticConfig) -> Reading:
    """One update: weight (I, D) and bias (I,), float64, in the model's normalised space."""
    size = observation.batch_size
    if why := unreadable(weight, bias):
        return nothing(weight, size, why)
    if size == 1:
        found, loss = combine(weight, bias)
        image = to_unit(found[None], observation)
        if missing := withheld(weight, bias):
            return Reading(image, 0, loss, f"read in part: {missing:.0%} of the values are in no row that was shared")
        exact = int(off_grid(image) < GRID)
        return Reading(image, exact, loss, "ok" if exact else APPROXIMATE)
    return choose(group(weight, bias, observation, config), size, float(weight.square().sum()))


def unreadable(weight: Tensor, bias: Tensor) -> str:
    """Why no image can be divided out of these gradients, or ""."""
    if not bool(weight.isfinite().all() and bias.isfinite().all()):
        return NOTHING.format("not finite")
    return "" if bool((bias != 0).any()) else NOTHING.format("zero")


def nothing(weight: Tensor, size: int, why: str) -> Reading:
    """Grey images for an update that cannot be read."""
    return Reading(weight.new_full((size, weight.shape[1]), 0.5), 0, float("nan"), why)


def combine(weight: Tensor, bias: Tensor) -> tuple[Tensor, float]:
    """The image x (D,) that fits dW_i = db_i x best over all rows, by least squares, and the share of the squared
    length of dW that it leaves. Entries that are exactly 0 are no evidence: whoever prunes an update does not share
    them.
    """
    shared = (weight != 0).to(weight)
    image = (bias @ weight) / (bias.square() @ shared).clamp_min(torch.finfo(weight.dtype).tiny)
    left = (weight - bias[:, None] * image) * shared
    return image, float(left.square().sum() / weight.square().sum().clamp_min(1e-300))


def withheld(weight: Tensor, bias: Tensor) -> float:
    """Share of the image's values that a pruned update tells nothing of; 0 where no update was pruned: a value that is
    itself 0 has a gradient of 0 in every row, a pruned one in some."""
    shared = weight[bias != 0] != 0
    some = shared.any(0)
    return float((~some).double().mean()) if bool((some & ~shared.all(0)).any()) else 0.0


def group(weight: Tensor, bias: Tensor, observation: Observation, config: AnalyticConfig) -> Candidates:
    """Rows that point the same way speak of one image (or of one mixture): one candidate for each group, the strongest
    first. Parallel means 1 − cos² < tolerance² of the rows (dW_i, db_i)."""
    strong = (bias.abs() > config.least * bias.abs().max()).nonzero()[:, 0]
    energy = weight[strong].square().sum(1)
    order = energy.argsort(descending=True, stable=True)[:MOST_ROWS]
    strong, energy = strong[order], energy[order]
    rows = torch.cat([weight[strong], bias[strong, None]], 1)
    unit = rows / rows.norm(dim=1, keepdim=True)
    alike = 1 - (unit @ unit.T).square() < config.tolerance**2
    left = torch.ones(len(strong), dtype=torch.bool, device=weight.device)
    images, energies, counts = [], [], []
    for place in range(len(strong)):
        if not left[place]:
            continue
        members = alike[place] & left
        left &= ~members
        images.append(combine(weight[strong[members]], bias[strong[members]])[0])
        energies.append(energy[members].sum())
        counts.append(members.sum())
    return Candidates(to_unit(torch.stack(images), observation), torch.stack(energies), torch.stack(counts))


def choose(candidates: Candidates, size: int, total: float) -> Reading:
    """B images of the candidates by the update alone.

    First those that lie on the grid of 8-bit values, which a mixture does not; then those on which two or more rows
    agree; the stronger first. What is still missing is taken from rows inside the image box, each time the one that
    lies furthest from the span of those taken (successive projection: mixtures lie between the images), and last from
    rows outside of it. The loss is the share of the gradient in rows that no image taken explains alone.
    """
    images, energy = candidates.images, candidates.energy
    certain = off_grid(images) < GRID
    agreed = candidates.rows > 1
    taken: list[int] = []
    for tier in (certain, agreed & ~certain):
        for place in sorted(tier.nonzero()[:, 0].tolist(), key=lambda i: -float(energy[i])):
            if len(taken) < size and not has(images, taken, place):
                taken.append(place)
    exact = int(certain[taken].sum()) if taken else 0
    taken += _furthest(images, taken, size - len(taken))
    loss = 1 - float(energy[taken].sum()) / total
    found = torch.cat([images[taken], images.new_full((size - len(taken), images.shape[1]), 0.5)])
    status = "ok" if exact == size else f"{exact} of {size} images read exactly; the others are mixtures"
    return Reading(found, exact, max(0.0, loss), status)


def off_grid(images: Tensor) -> Tensor:
    """(M, D) on the [0, 1] scale -> (M,) mean distance from whole multiples of 1/255, in those steps; ∞ for what leaves
    the image box, and for a flat image, which may lie on the grid by chance."""
    steps = images * 255
    distance = (steps - steps.round()).abs().mean(1)
    inside = (images > -SAME).all(1) & (images < 1 + SAME).all(1)
    flat = images.amax(1) - images.amin(1) < SAME
    return distance.masked_fill(~inside | flat, torch.inf)


def has(images: Tensor, taken: Sequence[int], place: int) -> bool:
    """Whether the image at `place` is one of those taken, but for rounding."""
    return any(float((images[place] - images[other]).abs().mean()) < SAME for other in taken)


def _furthest(images: Tensor, taken: Sequence[int], count: int) -> list[int]:
    """Up to `count` more places, by successive projection within the image box, then by least excess over it."""
    excess = (images.clamp(0, 1) - images).abs().mean(1)
    inside = excess < SAME
    more: list[int] = []
    left = images.clone()
    for place in taken:
        left = _projected(left, left[place])
    used = set(taken)
    while len(more) < count and len(used) < len(images):
        free = torch.tensor([i not in used for i in range(len(images))], device=images.device)
        if bool((free & inside).any()):
            place = int(left.square().sum(1).masked_fill(~(free & inside), -1).argmax())
        else:
            place = int(excess.masked_fill(~free, torch.inf).argmin())
        left = _projected(left, left[place])
        more.append(place)
        used.add(place)
    return more


def _projected(rows: Tensor, direction: Tensor) -> Tensor:
    square = direction.square().sum()
    return rows - (rows @ direction / square.clamp_min(1e-300))[:, None] * direction


def to_unit(images: Tensor, observation: Observation) -> Tensor:
    """(M, D) normalised -> (M, D) on the [0, 1] scale."""
    spec = observation.spec
    shaped = images.reshape(len(images), spec.channels, spec.height, spec.width)
    zero, one = (normalise(torch.full_like(shaped[:1], value), spec) for value in (0.0, 1.0))
    return ((shaped - zero) / (one - zero)).flatten(1)


def finish(
    name: str,
    observation: Observation,
    config: Any,
    readings: Sequence[Reading],
    labels: Tensor,
    seed: int,
    progress: Progress | None,
    targets: Sequence[int] | None,
    began: float,
    record: dict[str, Any],
) -> Reconstructions:
    """What N readings give: one restart, one step."""
    positions = engine.global_targets(observation, targets)
    spec = observation.spec
    shape = (observation.batch_size, spec.channels, spec.height, spec.width)
    images = torch.stack([reading.images.reshape(shape) for reading in readings])
    losses = np.array([[reading.loss] for reading in readings])
    whys = unreadable_labels(observation) if observation.labels is None else ("",) * len(readings)
    reporter = engine.Reporter(progress, name, engine.identity(name, observation, config, seed, positions))
    reporter.check_cancelled()
    reporter.after(1, 1, torch.from_numpy(losses), lambda: engine.to_pixels(images), dict)
    return Reconstructions(
        images=engine.to_pixels(images[:, None]),
        losses=losses,
        chosen=np.zeros(len(readings), dtype=np.int64),
        labels=labels[:, None].cpu().numpy(),
        iterations=np.ones((len(readings), 1), dtype=np.int64),
        status=tuple("; ".join(filter(None, words)) for words in zip((r.status for r in readings), whys, strict=True)),
        seconds=time.monotonic() - began,
        record={
            "gradients": "none: solved in closed form",
            "precision": "float64",
            "device": str(observation.device),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "labels": "known" if observation.labels is not None else "recovered",
            **record,
        },
    )
