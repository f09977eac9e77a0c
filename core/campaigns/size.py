"""How much a campaign asks for, counted before it is launched: trainings, runs, images, disk. No torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.attacks import ATTACKS, configure
from core.campaigns.plan import Campaign, Setting, expand
from core.campaigns.resolve import Resolved, resolved_setting, spec_of
from core.errors import UserError
from core.leakage.controls import easy_case
from core.models.sizes import parameter_count

SPARE_BYTES = 256 << 20  # of the disk that a campaign leaves free
GUESSED_PARAMETERS = 30_000_000  # of an architecture whose size is not known without building it
SOURCE_BYTES = 60_000  # of the picture behind an original, about that of a photograph
PREVIEWS = 2  # pictures on the way to a reconstruction that are kept while it is watched


@dataclass(frozen=True)
class Size:
    """Counts, and bytes of disk once all is done. `trained`: images of all trainings times their epochs."""

    settings: int
    trainings: int
    originals: int  # different ones, over the data sets
    reconstructions: int  # of the attack, controls left out
    controls: int  # images that are attacked again
    trained: int
    disk: int


def size_of(campaign: Campaign, found: Mapping[str, Resolved]) -> Size:
    """The campaign's size on the data sets that `resolve` found."""
    settings = [resolved_setting(one, found) for one in expand(campaign)]
    trainings = {(one.data.name, one.victim.name, one.training): one for one in settings if one.recipe is not None}
    images = sum(found[one.data.name].originals for one in settings)
    controls = sum(controls_of(one, found[one.data.name].originals) for one in settings)
    disk = sum(_weights(one, found[one.data.name]) for one in trainings.values())
    disk += sum(_pictures(one, found[one.data.name]) for one in settings)
    disk += _originals(settings, found)
    disk += max((_while_training(one, found[one.data.name]) for one in trainings.values()), default=0)
    return Size(
        settings=len(settings),
        trainings=len(trainings),
        originals=sum(found[name].originals for name in {one.data.name for one in settings}),
        reconstructions=images,
        controls=controls,
        trained=sum(found[one.data.name].train_images * _epochs(one) for one in trainings.values()),
        disk=disk,
    )


def check_room(size: Size, home: Path) -> None:
    """Raise UserError where the disk has no room for what the campaign will write."""
    free = free_bytes(home)
    if free < size.disk + SPARE_BYTES:
        raise UserError(
            f"This campaign writes about {gib(size.disk)} and {gib(free)} are free in {home}; make room, or attack "
            "fewer originals."
        )


def free_bytes(home: Path) -> int:
    """Bytes that are free where the home is, or will be."""
    there = next(place for place in (home, *home.parents) if place.exists())
    return shutil.disk_usage(there).free


def gib(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"


def controls_of(setting: Setting, originals: int) -> int:
    """Images that are attacked again as controls in one setting."""
    threat, attack = setting.threat_model, ATTACKS[setting.attack.attack]
    again = min(setting.attack.controls, originals // threat.batch_size)
    roles = len({"mismatched", "prior"} & set(attack.controls))
    return again * roles * threat.batch_size + (again if easy_case(threat, attack.updates) is not None else 0)


def restarts_of(setting: Setting) -> int:
    """Restarts of its attack."""
    return int(getattr(configure(setting.attack.attack, setting.attack.settings), "restarts", 1))


def _epochs(setting: Setting) -> int:
    return setting.recipe.epochs if setting.recipe else 0


def _pixels(setting: Setting) -> int:
    return (setting.data.size or 32) ** 2 * (setting.data.channels or 3)


def _weights_once(setting: Setting, one: Resolved) -> int:
    spec = spec_of(setting.victim, one)
    known = parameter_count(spec) if spec is not None else None
    return 4 * (GUESSED_PARAMETERS if known is None else known)


def _weights(setting: Setting, one: Resolved) -> int:
    kept = len(setting.recipe.kept) + 1 if setting.recipe else 0
    return kept * _weights_once(setting, one)


def _while_training(setting: Setting, one: Resolved) -> int:
    """Its pixels, and two checkpoints with the optimiser's own numbers; gone when it is done."""
    return one.train_images * _pixels(setting) + 2 * 3 * _weights_once(setting, one)


def _pictures(setting: Setting, one: Resolved) -> int:
    made = one.originals * restarts_of(setting) + controls_of(setting, one.originals)
    return (1 + PREVIEWS) * made * _pixels(setting)


def _originals(settings: list[Setting], found: Mapping[str, Resolved]) -> int:
    """Each picture once, and once more for every way in which it is changed before it is attacked."""
    ways: dict[tuple[str, Any], int] = {}
    for one in settings:
        changes = tuple((d.name, str(d.settings)) for d in one.threat_model.defences)
        ways[one.data.name, changes] = found[one.data.name].originals * _pixels(one)
    sources = {one.data.name: found[one.data.name].originals * SOURCE_BYTES for one in settings}
    return sum(ways.values()) + sum(sources.values())
