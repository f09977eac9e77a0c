"""What a plan says about things that exist: architectures, attacks, defences, sizes, names. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from core.attacks import configure
from core.campaigns.plan import Campaign, Data, Threat, Training, Victim
from core.errors import UserError
from core.images.dataset import PARTS
from core.leakage.defences import check_defences
from core.leakage.threat import check_threat
from core.models.catalogue import CATALOGUE, MAXIMUM_SIZE
from core.models.presets import PRESETS
from core.names import safe_text
from core.registry import look_up

WANTED = {"data": "data set", "victims": "victim", "recipes": "recipe", "threats": "threat", "attacks": "attack"}
SEEDS = 2**31


def check(campaign: Campaign) -> None:
    """Raise UserError, in one sentence, for a plan that nothing could come of."""
    if not campaign.name:
        raise UserError('A campaign needs a name; put name = "…" at the top.')
    for table, word in WANTED.items():
        named(getattr(campaign, table), table, word)
    if not 0 <= campaign.seed < SEEDS:
        raise UserError(f"seed is 0 to {SEEDS - 1}, not {campaign.seed}.")
    for data in campaign.data:
        _data(data)
    for victim in campaign.victims:
        _victim(victim)
    for training in campaign.recipes:
        _training(training)
    for threat in campaign.threats:
        _about(f"threat {threat.name!r}", partial(_threat, threat))
    for attack in campaign.attacks:
        _about(f"attack {attack.name!r}", partial(configure, attack.attack, attack.settings))
        if attack.controls < 0:
            raise UserError(f"controls of attack {attack.name!r} is 0 or more, not {attack.controls}.")
    _skips(campaign)


def named(entries: Sequence[Any], table: str, word: str) -> None:
    """Refuse a table that is empty, or has a name twice or none."""
    if not entries:
        raise UserError(f"This campaign has no {word}, so it has nothing to run; add a [[{table}]] table.")
    names = Counter(entry.name for entry in entries)
    for name, times in names.items():
        if not name or len(name) > 80:
            raise UserError(f"Every [[{table}]] table needs a name of 1 to 80 characters, not {safe_text(name, 40)!r}.")
        if times > 1:
            raise UserError(f"Two [[{table}]] tables are called {safe_text(name)!r}; give each its own name.")


def _data(data: Data) -> None:
    what = f"data set {data.name!r}"
    if data.originals.part not in PARTS:
        raise UserError(f"part of the originals of {what} is train or test, not {safe_text(data.originals.part)!r}.")
    for key, value in (("count", data.train.count), ("per_class", data.train.per_class)):
        _positive(f"{key} of the train part of {what}", value)
    for key, value in (("count", data.originals.count), ("per_class", data.originals.per_class)):
        _positive(f"{key} of the originals of {what}", value)
    _positive(f"size of {what}", data.size, MAXIMUM_SIZE)
    _positive(f"channels of {what}", data.channels, 3)
    if not 0 <= data.held_out < 1:
        raise UserError(f"held_out of {what} is a share from 0 to below 1, not {data.held_out:g}.")
    for key, value in (("seed", data.seed), ("split_seed", data.split_seed)):
        if not 0 <= value < SEEDS:
            raise UserError(f"{key} of {what} is 0 to {SEEDS - 1}, not {value}.")
    if bool(data.mean) != bool(data.std) or len(data.mean) != len(data.std):
        raise UserError(f"mean and std of {what} come together, with as many numbers each; correct them.")
    if any(value <= 0 for value in data.std):
        raise UserError(f"Every std of {what} is above 0.")


def _positive(what: str, value: int | None, most: int = 10_000_000) -> None:
    if value is not None and not 1 <= value <= most:
        raise UserError(f"{what} is 1 to {most:,}, not {value:,}.")


def _victim(victim: Victim) -> None:
    what = f"Victim {victim.name!r}"
    given = [name for name in ("architecture", "preset", "model") if getattr(victim, name) not in ("", None)]
    if len(given) != 1:
        came = " and ".join(given) or "none of them"
        raise UserError(f"{what} is an architecture to train, a preset or a model of the store: one, not {came}.")
    if victim.preset:
        look_up(PRESETS, victim.preset, "model preset")
    if not victim.trained and (victim.arguments or victim.init_seed):
        raise UserError(f"{what} is a model that is there already; arguments and init_seed belong to an architecture.")
    if victim.architecture:
        architecture = look_up(CATALOGUE, victim.architecture, "architecture")
        if architecture.refused:
            raise UserError(f"{architecture.title} cannot be attacked: {architecture.refused}")
        for name, value in victim.arguments.items():
            argument = look_up(architecture.arguments, name, f"argument of {architecture.title}")
            if not argument.allows(value):
                raise UserError(f"{name} of {what} must be {argument.wanted}, not {safe_text(str(value))!r}.")


def _training(training: Training) -> None:
    if training.recipe is None:
        return
    for epoch in training.checkpoints:
        if not 1 <= epoch < training.recipe.epochs:
            raise UserError(
                f"checkpoints of recipe {training.name!r} are epochs from 1 to {training.recipe.epochs - 1} (the last "
                f"is attacked anyway), not {epoch}."
            )
    if len(set(training.checkpoints)) != len(training.checkpoints):
        raise UserError(f"checkpoints of recipe {training.name!r} name an epoch twice.")


def _threat(threat: Threat) -> None:
    check_threat(threat.model)
    check_defences(threat.model)


def _skips(campaign: Campaign) -> None:
    tables = {"data": "data", "victim": "victims", "recipe": "recipes", "threat": "threats", "attack": "attacks"}
    for place, skip in enumerate(campaign.skip):
        said = {key: name for key, name in vars(skip).items() if name}
        if not said:
            raise UserError(f"[[skip]] number {place + 1} names nothing, and would leave out everything; remove it.")
        for key, name in said.items():
            look_up({one.name: one for one in getattr(campaign, tables[key])}, name, f"{key} in this campaign")


def _about(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')} (in {what}).") from None
