"""How much a campaign asks for, counted before it is launched: trainings, runs, images, disk. No torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.attacks import ATTACKS, configure
from core.campaigns.grid import Block, blocks
from core.campaigns.plan import AttackChoice, Campaign, Setting, Skip
from core.campaigns.resolve import Resolved, resolved_setting, spec_of
from core.errors import UserError
from core.leakage.controls import easy_case
from core.leakage.threat import ThreatModel
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
    """The campaign's size on the data sets that `resolve` found. Counted by victims, so a large grid is quick too."""
    settings = controls = images = trainings = trained = weights = pictures = working = 0
    augmented = any(threat.augmented for threat in campaign.threats)
    sums: dict[tuple[str, tuple[Skip, ...], str | None], _Sums] = {}
    changed: dict[tuple[str, str], int] = {}  # pixels of the originals, for every way in which they are changed
    for block in blocks(campaign):
        one, epochs = found[block.data.name], len(block.epochs)
        first = resolved_setting(block.first, found)
        key = (block.data.name, block.skips, block.training.name if augmented and block.training else None)
        if key not in sums:
            sums[key] = _sums(campaign, first, block, one)
            changed.update({(block.data.name, way): one.originals * _pixels(first) for way in sums[key].ways})
        settings += epochs * len(block.pairs)
        images += epochs * len(block.pairs) * one.originals
        controls += epochs * sums[key].controls
        pictures += epochs * sums[key].pictures * _pixels(first)
        if first.recipe is not None:
            trainings += 1
            trained += one.train_images * first.recipe.epochs
            weights += (len(first.recipe.kept) + 1) * _weights_once(first, one)
            working = max(working, _while_training(first, one))
    names = {name for name, *_ in sums}
    sources = sum(found[name].originals * SOURCE_BYTES for name in names)
    return Size(
        settings=settings,
        trainings=trainings,
        originals=sum(found[name].originals for name in names),
        reconstructions=images,
        controls=controls,
        trained=trained,
        disk=weights + pictures + sum(changed.values()) + sources + working,
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


@dataclass(frozen=True)
class _Sums:
    """Over the pairs of a block. pictures: images that are made and kept; ways: in which its originals are changed."""

    controls: int
    pictures: int
    ways: frozenset[str]


def _sums(campaign: Campaign, first: Setting, block: Block, one: Resolved) -> _Sums:
    threats = {threat.name: replace(first, threat=threat).threat_model for threat in campaign.threats}
    restarts = {attack.name: restarts_of(attack) for attack in campaign.attacks}
    easy: dict[tuple[str, str], bool] = {}
    controls = pictures = 0
    for threat, attack in block.pairs:
        kind = (threat.name, attack.attack)
        if kind not in easy:
            easy[kind] = easy_case(threats[threat.name], ATTACKS[attack.attack].updates) is not None
        again = _controls(threats[threat.name].batch_size, attack, one.originals, easy[kind])
        controls += again
        pictures += (1 + PREVIEWS) * (one.originals * restarts[attack.name] + again)
    there = {threat.name for threat, _ in block.pairs}
    ways = frozenset(_changes(model) for name, model in threats.items() if name in there)
    return _Sums(controls, pictures, ways)


def _changes(threat: ThreatModel) -> str:
    return str([(one.name, str(one.settings)) for one in threat.defences])


def _controls(batch_size: int, attack: AttackChoice, originals: int, easy: bool) -> int:
    """Images that are attacked again as controls in one setting."""
    again = min(attack.controls, originals // batch_size)
    roles = len({"mismatched", "prior"} & set(ATTACKS[attack.attack].controls))
    return again * roles * batch_size + (again if easy else 0)


def restarts_of(attack: AttackChoice) -> int:
    """Restarts of an attack."""
    return int(getattr(configure(attack.attack, attack.settings), "restarts", 1))


def _pixels(setting: Setting) -> int:
    return (setting.data.size or 32) ** 2 * (setting.data.channels or 3)


def _weights_once(setting: Setting, one: Resolved) -> int:
    spec = spec_of(setting.victim, one)
    known = parameter_count(spec) if spec is not None else None
    return 4 * (GUESSED_PARAMETERS if known is None else known)


def _while_training(setting: Setting, one: Resolved) -> int:
    """Its pixels, and two checkpoints with the optimiser's own numbers; gone when it is done."""
    return one.train_images * _pixels(setting) + 2 * 3 * _weights_once(setting, one)
