"""From a chosen recipe to a stored training, and from a training to the models that came of it. No torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Row, select

from core.errors import UserError
from core.images.chosen import MOST_BYTES, MOST_HELD
from core.images.dataset import TRAIN, DataChoice
from core.images.datasets import input_of, open_dataset
from core.images.sampling import choose, class_places, fix
from core.jobs.payloads import TrainJob
from core.jobs.queue import Submitted, submit
from core.models.catalogue import CATALOGUE
from core.models.presets import PRESETS
from core.models.pretrained import PRETRAINED, pretrained_of, where_found
from core.models.sizes import parameter_count
from core.models.spec import ModelSpec
from core.models.training.checks import check_recipe
from core.models.training.recipe import PAPER_RECIPES, Recipe
from core.registry import look_up
from core.settings import Settings
from core.storage.schema import models
from core.storage.space import enough_space
from core.storage.store import Store

GUESSED_PARAMETERS = 30_000_000  # of an architecture whose size is not known without building it
TITLE = "train "  # a training's title begins so; what follows names its models


@dataclass(frozen=True)
class TrainRequest:
    """A training as it was chosen, before anything of it is stored."""

    spec: ModelSpec  # what is trained; its classes become those of the data
    name: str  # of the victim, such as a preset's
    data: DataChoice
    recipe: Recipe = field(default_factory=Recipe)
    device: str = "auto"


@dataclass(frozen=True)
class TrainedModel:
    """One stored set of weights of a training. facts: accuracy, held_out, train_accuracy, parameters, dataset, …"""

    model_id: int
    spec: ModelSpec
    name: str
    epoch: int
    facts: dict[str, Any]


def check_training(settings: Settings, request: TrainRequest) -> TrainRequest:
    """Refuse what cannot be trained, in one sentence, before anything is stored. Raises UserError.

    Returns the request with the data set's fingerprint in its choice, and the data's classes in its spec.
    """
    dataset = open_dataset(request.data.dataset, settings)
    choice = fix(dataset, replace(request.data, part=TRAIN))
    places = choose(dataset, choice)
    labels = sorted({dataset.entries[place].label for place in places}) if choice.names else ()
    names = tuple(dataset.classes[label] for label in labels or class_places(dataset, choice.classes))
    if len(names) < 2:
        raise UserError(
            f"A training needs at least two classes, but this choice of {dataset.title} holds one ({names[0]}); "
            "choose more."
        )
    spec = replace(request.spec, num_classes=len(names), class_names=names)
    check_recipe(request.recipe, spec, len(places), None if request.device == "auto" else request.device)
    check_start_and_room(settings, spec, request.recipe, len(places), len(dataset.entries))
    return replace(request, spec=spec, data=choice)


def check_start_and_room(settings: Settings, spec: ModelSpec, recipe: Recipe, images: int, entries: int) -> None:
    """The part of `check_training` about this machine: weights to start from, memory and disk. Raises UserError.

    images: that are trained on, of the `entries` of the data set; some of the others are looked at after each epoch.
    """
    _check_start(settings, recipe, spec)
    _check_room(settings, spec, recipe, images + min(MOST_HELD, entries - images))


def victim_spec(
    name: str,
    dataset: str,
    settings: Settings,
    *,
    size: int | None = None,
    channels: int | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """What is trained when a preset or an architecture is asked for on a data set: its input is the data set's.

    The number of classes is the data's, and known once a training is checked. size: pixels, height and width.
    """
    known = {**PRESETS, **{one: ModelSpec(one, num_classes=2) for one in CATALOGUE if one not in PRESETS}}
    base = look_up(known, name, "model")
    wanted = input_of(dataset, settings)
    count = wanted.channels if channels is None else channels
    mean, std = (wanted.mean, wanted.std) if count == wanted.channels else ((0.5,) * count, (0.25,) * count)
    return replace(
        base,
        channels=count,
        height=size or wanted.size,
        width=size or wanted.size,
        mean=mean,
        std=std,
        arguments={**base.arguments, **(arguments or {})},
        class_names=(),
        weights_sha256="",
    )


def as_started(spec: ModelSpec, recipe: Recipe) -> ModelSpec:
    """The spec with the mean and std that its pretrained weights were made with, where the recipe starts from them.

    Grey models keep those of their data, as do architectures without such weights, which check_training refuses.
    """
    record = PRETRAINED.get(spec.architecture)
    if recipe.start != "imagenet" or record is None or spec.channels != len(record.mean):
        return spec
    return replace(spec, mean=record.mean, std=record.std)


def submit_training(
    store: Store,
    request: TrainRequest,
    *,
    parent: int | None = None,
    depends_on: Sequence[int] = (),
    anew: bool = False,
) -> Submitted:
    """Queue a training. The same question asked twice comes back as `already`; anew trains again all the same.

    Raises UserError as `check_training` does.
    """
    fixed = check_training(store.settings, request)
    payload = TrainJob(model=fixed.spec, data=fixed.data, recipe=fixed.recipe.to_dict(), device=fixed.device)
    return submit(store, payload, training_title(fixed), parent=parent, depends_on=depends_on, anew=anew)


def trained_models(store: Store, job_id: int) -> list[TrainedModel]:
    """The stored weights of a training, by epoch; the last is the final model once the training is done."""
    mine = select(models).where(models.c.job_id == job_id).order_by(models.c.epoch, models.c.id)
    with store.database.read() as connection:
        return [_trained(row) for row in connection.execute(mine)]


def final_model(store: Store, job_id: int) -> TrainedModel:
    """The model that a training ended with; UserError when it has not ended yet."""
    found = [model for model in trained_models(store, job_id) if model.facts.get("final")]
    if not found:
        raise UserError(f"Training {job_id} has made no final model; wait until it is done, or start it anew.")
    return found[-1]


def training_title(request: TrainRequest) -> str:
    """A training's name in lists, such as "train convnet · cifar100 · crop+flip · 200 epochs"."""
    epochs = "1 epoch" if request.recipe.epochs == 1 else f"{request.recipe.epochs} epochs"
    parts = [request.name, data_words(request.data), recipe_words(request.recipe), epochs]
    return f"{TITLE}{' · '.join(parts)}"[:300]


def data_words(choice: DataChoice) -> str:
    """A choice in a few words, such as "cifar100" or "pets, 20 a class"."""
    kind, colon, path = choice.dataset.partition(":")
    words = [path.rstrip("/").rpartition("/")[2] or path if colon else kind]
    if choice.classes:
        words.append(f"{len(choice.classes)} classes")
    if choice.names:
        words.append(f"{len(choice.names):,} listed")
    elif choice.per_class is not None:
        words.append(f"{choice.per_class:,} a class")
    if choice.count is not None and not choice.names:
        words.append(f"{choice.count:,} images")
    return ", ".join(words)


def recipe_words(recipe: Recipe) -> str:
    """What a recipe does to images and gradients, by the name of the paper's where it is one of them."""
    does = ("augment", "policies", "mixup", "label_smoothing", "defence", "noise", "prune", "dp_noise", "dp_norm")
    for name, known in PAPER_RECIPES.items():
        if all(getattr(known, one) == getattr(recipe, one) for one in does):
            return "no augmentation" if name == "none" else name
    words = [recipe.augment] if recipe.augment != "none" else []
    words += [f"ats {recipe.policies}"] if recipe.policies else []
    words += [f"mixup {recipe.mixup:g}"] if recipe.mixup else []
    words += [f"smoothing {recipe.label_smoothing:g}"] if recipe.label_smoothing else []
    defences = {
        "gaussian": f"gaussian {recipe.noise:g}",
        "prune": f"prune {recipe.prune:.0%}",
        "dp-sgd": f"dp-sgd {recipe.dp_noise:g}",
    }
    words += [defences[recipe.defence]] if recipe.defence in defences else []
    return " + ".join(words) or "no augmentation"


def weights_bytes(spec: ModelSpec) -> int:
    """About how many bytes its weights take."""
    known = parameter_count(spec) if spec.architecture in CATALOGUE else None
    return 4 * (GUESSED_PARAMETERS if known is None else known)


def _check_start(settings: Settings, recipe: Recipe, spec: ModelSpec) -> None:
    """Raise UserError where ImageNet's weights are wanted and are not on this machine."""
    if recipe.start == "imagenet" and where_found(spec.architecture, settings) is None:
        record = pretrained_of(spec.architecture)
        raise UserError(
            f"The ImageNet weights of {spec.architecture} are not on this machine; fetch {record.url} and put it into "
            f"torch's cache, or start from drawn weights."
        )


def _check_room(settings: Settings, spec: ModelSpec, recipe: Recipe, images: int) -> None:
    """Raise UserError where the pixels would not fit in memory, or what is written not on the disk."""
    pixels = images * spec.height * spec.width * spec.channels
    if pixels > MOST_BYTES:
        raise UserError(
            f"{images:,} images of {spec.width}×{spec.height} are {pixels / 2**30:.1f} GiB, and a training takes at "
            f"most {MOST_BYTES >> 30} GiB; choose fewer images or a smaller size."
        )
    # the weights of each kept epoch and the last; two checkpoints at once, each with the optimiser's own numbers
    needed = pixels + weights_bytes(spec) * (len(recipe.kept) + 1 + 2 * 3)
    enough_space(settings.home, needed, "This training")


def _trained(row: Row[Any]) -> TrainedModel:
    facts: dict[str, Any] = json.loads(row.facts) if row.facts else {}
    return TrainedModel(row.id, ModelSpec.from_json(row.spec), row.name, int(row.epoch or 0), facts)
