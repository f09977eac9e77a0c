"""What an auditor should know of a plan before it is launched: images that victims know, labels that mean nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache

from sqlalchemy import select

from core.campaigns.plan import Campaign, Data, Victim
from core.campaigns.resolve import Resolved, spec_of
from core.errors import UserError
from core.images.chosen import counted_classes
from core.images.dataset import DataChoice
from core.images.datasets import open_dataset
from core.images.load import class_map
from core.models.spec import ModelSpec
from core.report.seen import seen_words, trained_on
from core.settings import Settings
from core.storage.schema import models
from core.storage.store import Store

KEPT_SECONDS = 60  # for which a sentence is kept: a page asks every few seconds, and each costs a draw


def campaign_notes(store: Store, campaign: Campaign, found: Mapping[str, Resolved]) -> tuple[str, ...]:
    """One sentence for each pair of data set and victim of which there is something to say; each once."""
    notes: list[str] = []
    for data in campaign.data:
        for victim in campaign.victims:
            for sentence in _notes(store, campaign, data, victim, found[data.name]):
                if sentence not in notes:
                    notes.append(sentence)
    return tuple(notes)


def _notes(store: Store, campaign: Campaign, data: Data, victim: Victim, one: Resolved) -> list[str]:
    settings, now = store.settings, int(time.time() // KEPT_SECONDS)
    attacked = data.originals_choice
    if victim.trained:
        if not any(training.recipe for training in campaign.recipes):
            return []
        said = _seen(settings, data.train_choice, attacked, now)
        return [f"{data.name}: {said}"] if said else []
    spec = spec_of(victim, one) or _stored(store, victim)
    notes = []
    if spec is not None and not _labels_fit(settings, attacked, spec.to_json(), now):
        notes.append(f"{data.name}: labels are drawn, as its classes do not fit {victim.name}.")
    known = None if victim.model is None else trained_on(store, victim.model)
    if known is not None and (said := _seen(settings, known, attacked, now)):
        notes.append(f"{data.name}, {victim.name}: {said}")
    return notes


def _stored(store: Store, victim: Victim) -> ModelSpec | None:
    with store.database.read() as connection:
        text = connection.execute(select(models.c.spec).where(models.c.id == victim.model)).scalar()
    return None if text is None else ModelSpec.from_json(text)


@lru_cache(maxsize=128)
def _seen(settings: Settings, known: DataChoice, attacked: DataChoice, minute: int) -> str:
    try:
        return seen_words(settings, known, attacked)
    except UserError as error:  # the plan's check says it too, where it forbids the launch
        return str(error)


@lru_cache(maxsize=128)
def _labels_fit(settings: Settings, attacked: DataChoice, spec: str, minute: int) -> bool:
    """Whether the data set's classes mean classes of the model; labels that do not are drawn."""
    model = ModelSpec.from_json(spec)
    try:
        dataset = open_dataset(attacked.dataset, settings)
        counted = counted_classes(dataset, attacked, model)
    except UserError:
        return True  # said by _seen or by the plan's check
    return class_map([dataset.classes[label] for label in counted], model) is not None
