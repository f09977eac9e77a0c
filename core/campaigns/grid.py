"""A campaign's grid, counted and made: by victims, and setting by setting. No torch, no database.

A grid of a million settings is counted without making one of them, so that it can be asked about first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.campaigns.plan import AttackChoice, Campaign, Data, Setting, Skip, Threat, Training, Victim
from core.errors import UserError

MOST_SETTINGS = 2_000_000  # beyond, not even the table of them could be kept


@dataclass(frozen=True)
class Block:
    """The settings that attack one victim: each of its epochs meets each pair of a threat model and an attack."""

    data: Data
    victim: Victim
    training: Training | None
    epochs: tuple[int | None, ...]
    skips: tuple[Skip, ...]  # those that leave out some of its pairs; blocks with the same ones have the same pairs
    pairs: tuple[tuple[Threat, AttackChoice], ...]

    def setting(self, threat: Threat, attack: AttackChoice) -> Setting:
        """The one that attacks its last weights, without place and title."""
        return Setting(0, "", self.data, self.victim, self.training, None, threat, attack)

    @property
    def first(self) -> Setting:
        """The one of its first pair, likewise."""
        return self.setting(*self.pairs[0])


def count(campaign: Campaign) -> int:
    """Settings of the grid, [[skip]] left out; quick, however many they are. Raises UserError for none or too many."""
    number = 0
    for data, victim, training, epochs in _victims(campaign):
        number += len(epochs) * _number(campaign, _touching(campaign, data, victim, training))
    if not number:
        raise UserError("This campaign leaves out every one of its settings; take away some of [[skip]].")
    if number > MOST_SETTINGS:
        raise UserError(
            f"This grid has {number:,} settings, more than the {MOST_SETTINGS:,} that a campaign may have; "
            "leave some of it out."
        )
    return number


def blocks(campaign: Campaign) -> Iterator[Block]:
    """The grid by victims, in its order; those of which everything is left out are not there."""
    count(campaign)
    made: dict[tuple[Skip, ...], tuple[tuple[Threat, AttackChoice], ...]] = {}
    for data, victim, training, epochs in _victims(campaign):
        skips = _touching(campaign, data, victim, training)
        if skips not in made:
            out = {(skip.threat, skip.attack) for skip in skips}
            every = ((threat, attack) for threat in campaign.threats for attack in campaign.attacks)
            made[skips] = tuple(one for one in every if not out or not _is_out(*one, out))
        if made[skips]:
            yield Block(data, victim, training, epochs, skips, made[skips])


def settings_of(campaign: Campaign) -> Iterator[Setting]:
    """Every setting, in the grid's order, made as it is asked for. Raises UserError as `count` does."""
    place = 0
    for block in blocks(campaign):
        for epoch in block.epochs:
            for threat, attack in block.pairs:
                one = Setting(place, "", block.data, block.victim, block.training, epoch, threat, attack)
                yield replace(one, title=title_of(campaign, one))
                place += 1


def expand(campaign: Campaign) -> tuple[Setting, ...]:
    """Every setting, in the grid's order. Raises UserError as `count` does."""
    return tuple(settings_of(campaign))


def title_of(campaign: Campaign, setting: Setting) -> str:
    """Names of the parts of which the campaign has several; the victim always."""
    parts = [setting.data.name] if len(campaign.data) > 1 else []
    parts.append(setting.victim.name)
    if setting.training and (len(campaign.recipes) > 1 or setting.training.checkpoints):
        parts.append(setting.training.name)
    if setting.epoch is not None:
        parts.append(f"epoch {setting.epoch}")
    parts += [setting.threat.name] if len(campaign.threats) > 1 else []
    parts += [setting.attack.name] if len(campaign.attacks) > 1 else []
    return " · ".join(parts)[:300]


def _victims(campaign: Campaign) -> Iterator[tuple[Data, Victim, Training | None, tuple[int | None, ...]]]:
    """Each victim with the epochs of it that are attacked, the last at the end."""
    for data in campaign.data:
        for victim in campaign.victims:
            for training in campaign.recipes if victim.trained else (None,):
                yield data, victim, training, (*(sorted(training.checkpoints) if training else ()), None)


def _touching(campaign: Campaign, data: Data, victim: Victim, training: Training | None) -> tuple[Skip, ...]:
    recipe = training.name if training else None
    return tuple(
        skip
        for skip in campaign.skip
        if skip.data in ("", data.name) and skip.victim in ("", victim.name) and skip.recipe in ("", recipe)
    )


def _number(campaign: Campaign, skips: tuple[Skip, ...]) -> int:
    """Pairs of a threat model and an attack that these leave; not made one by one."""
    number = 0
    for threat in campaign.threats:
        out = {skip.attack for skip in skips if skip.threat in ("", threat.name)}
        number += 0 if "" in out else len(campaign.attacks) - len(out)
    return number


def _is_out(threat: Threat, attack: AttackChoice, out: set[tuple[str, str]]) -> bool:
    one, other = threat.name, attack.name
    return not out.isdisjoint((("", ""), (one, ""), ("", other), (one, other)))
