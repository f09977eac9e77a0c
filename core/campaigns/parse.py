"""A campaign from plain tables (TOML, stored JSON) and back. Whatever is wrong is one sentence that says where."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from core.campaigns.plan import (
    USUAL_RECIPES,
    USUAL_THREATS,
    AttackChoice,
    Campaign,
    Data,
    Originals,
    Skip,
    Threat,
    Training,
    TrainPart,
    Victim,
)
from core.errors import UserError
from core.leakage.defences.text import read_defence, write_defence
from core.leakage.threat import ThreatModel
from core.models.training.recipe import Recipe
from core.names import safe_text

TABLES: dict[str, tuple[str, ...]] = {  # the keys that each table takes, beside those of a Recipe and a ThreatModel
    "": ("name", "seed", "device", "data", "victims", "recipes", "threats", "attacks", "skip"),
    "data": tuple(one.name for one in dataclasses.fields(Data)),
    "data.train": tuple(one.name for one in dataclasses.fields(TrainPart)),
    "data.originals": tuple(one.name for one in dataclasses.fields(Originals)),
    "victims": tuple(one.name for one in dataclasses.fields(Victim)),
    "recipes": ("name", "trained", "checkpoints", *(one.name for one in dataclasses.fields(Recipe))),
    "threats": ("name", "augmented", *(one.name for one in dataclasses.fields(ThreatModel))),
    "attacks": tuple(one.name for one in dataclasses.fields(AttackChoice)),
    "skip": tuple(one.name for one in dataclasses.fields(Skip)),
}


def parse(values: Mapping[str, Any]) -> Campaign:
    """The campaign that these tables describe, checked as far as it can be without its data sets. Raises UserError."""
    from core.campaigns.check import check

    if not values:
        raise UserError(
            "This plan is empty; it needs a name, and at least one [[data]], [[victims]] and [[attacks]] table."
        )
    table = Table("", values)
    campaign = Campaign(
        name=table.text("name"),
        seed=table.whole("seed", 0),
        device=table.text("device", "auto"),
        data=tuple(_data(one) for one in table.tables("data")),
        victims=tuple(_victim(one) for one in table.tables("victims")),
        attacks=tuple(_attack(one) for one in table.tables("attacks")),
        recipes=tuple(_recipe(one) for one in table.tables("recipes")) if "recipes" in values else USUAL_RECIPES,
        threats=tuple(_threat(one) for one in table.tables("threats")) if "threats" in values else USUAL_THREATS,
        skip=tuple(_skip(one) for one in table.tables("skip")),
    )
    check(campaign)
    return campaign


def to_tables(campaign: Campaign, *, brief: bool = False) -> dict[str, Any]:
    """The plain tables that `parse` turns into `campaign` again. brief: without what is as usual."""
    return {
        "name": campaign.name,
        "seed": campaign.seed,
        "device": campaign.device,
        "data": [_plain(one, brief) for one in campaign.data],
        "victims": [_plain(one, brief) for one in campaign.victims],
        "recipes": [_recipe_table(one, brief) for one in campaign.recipes],
        "threats": [_threat_table(one, brief) for one in campaign.threats],
        "attacks": [_plain(one, brief) for one in campaign.attacks],
        **({"skip": [_plain(one, True) for one in campaign.skip]} if campaign.skip else {}),
    }


class Table:
    """One table of the file, its keys checked; each reader takes one key and says where it stands if it is wrong."""

    def __init__(self, kind: str, values: object, place: int | None = None) -> None:
        self.where = "the file" if not kind else f"[{kind}]" if place is None else f"[[{kind}]] number {place + 1}"
        if not isinstance(values, Mapping):
            raise UserError(f"{_sentence(self.where)} is a table of keys and values, not {_shown(values)}.")
        self.values = {str(key): value for key, value in values.items()}
        for key in self.values:
            if key not in TABLES[kind]:
                near = difflib.get_close_matches(key, TABLES[kind], n=1, cutoff=0.4)
                hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(TABLES[kind])}."
                raise UserError(f"There is no key {safe_text(key, 60)!r} in {self.where}; {hint}")

    def text(self, key: str, default: str | None = None) -> str:
        """A text; must be there without a default."""
        return str(self._take(key, default, str, "a text in quotes")).strip()

    def truth(self, key: str, default: bool) -> bool:
        """true or false."""
        return bool(self._take(key, default, bool, "true or false"))

    def whole(self, key: str, default: int) -> int:
        """A whole number."""
        return int(self._take(key, default, int, "a whole number"))

    def maybe_whole(self, key: str) -> int | None:
        """A whole number, or None where the key is missing (or null in stored JSON)."""
        return None if self.values.get(key) is None else self.whole(key, 0)

    def number(self, key: str, default: float) -> float:
        """A number."""
        return float(self._take(key, default, (int, float), "a number"))

    def like(self, key: str, default: Any) -> Any:
        """A value of the default's kind."""
        if isinstance(default, bool):
            return self.truth(key, default)
        if isinstance(default, int):
            return self.whole(key, default)
        return self.number(key, default) if isinstance(default, float) else self.text(key, default)

    def listed(self, key: str, kinds: type | tuple[type, ...], what: str) -> tuple[Any, ...]:
        """A list of such values; () where the key is missing."""
        values = self._take(key, (), (list, tuple), f"a list of {what}")
        for value in values:
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise UserError(f"{key} in {self.where} is a list of {what}, but has {_shown(value)}.")
        return tuple(values)

    def table(self, key: str) -> dict[str, Any]:
        """A table within this one; {} where the key is missing."""
        return dict(self._take(key, {}, Mapping, "a table such as { key = value }"))

    def tables(self, key: str) -> list[tuple[int, Any]]:
        """Tables written [[key]], each with its place."""
        return list(enumerate(self._take(key, (), (list, tuple), f"one or more tables, each written [[{key}]]")))

    def _take(self, key: str, default: Any, kinds: type | tuple[type, ...], what: str) -> Any:
        if key not in self.values:
            if default is None:
                raise UserError(f"{_sentence(self.where)} has no {key}; write {key} = and {what}.")
            return default
        value = self.values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise UserError(f"{key} in {self.where} is {what}, not {_shown(value)}.")
        return value


def _data(numbered: tuple[int, Any]) -> Data:
    table = Table("data", numbered[1], numbered[0])
    train, originals = Table("data.train", table.table("train")), Table("data.originals", table.table("originals"))
    return Data(
        name=table.text("name", str(table.values.get("dataset", ""))),
        dataset=table.text("dataset"),
        size=table.maybe_whole("size"),
        channels=table.maybe_whole("channels"),
        mean=tuple(float(one) for one in table.listed("mean", (int, float), "numbers, one a channel")),
        std=tuple(float(one) for one in table.listed("std", (int, float), "numbers, one a channel")),
        classes=table.listed("classes", str, "names of classes"),
        seed=table.whole("seed", 0),
        held_out=table.number("held_out", 0.2),
        split_seed=table.whole("split_seed", 0),
        train=TrainPart(train.maybe_whole("count"), train.maybe_whole("per_class")),
        originals=Originals(
            originals.text("part", Originals().part),
            originals.maybe_whole("count"),
            originals.maybe_whole("per_class"),
            originals.listed("names", str, "names of pictures"),
        ),
    )


def _victim(numbered: tuple[int, Any]) -> Victim:
    table = Table("victims", numbered[1], numbered[0])
    usual = table.values.get("architecture") or table.values.get("preset") or ""
    return Victim(
        name=table.text("name", str(usual) or None),
        architecture=table.text("architecture", ""),
        arguments=table.table("arguments"),
        init_seed=table.whole("init_seed", 0),
        preset=table.text("preset", ""),
        model=table.maybe_whole("model"),
    )


def _recipe(numbered: tuple[int, Any]) -> Training:
    table = Table("recipes", numbered[1], numbered[0])
    name, trained = table.text("name"), table.truth("trained", True)
    checkpoints = table.listed("checkpoints", int, "epochs")
    own = {key: value for key, value in table.values.items() if key not in ("name", "trained", "checkpoints")}
    if not trained and (own or checkpoints):
        key = min([*own, *(["checkpoints"] if checkpoints else [])])
        raise UserError(f"{table.where} is not trained, so it takes no {key}; remove it.")
    return Training(name, _within(table, lambda: Recipe.from_dict(own)) if trained else None, checkpoints)


def _threat(numbered: tuple[int, Any]) -> Threat:
    table = Table("threats", numbered[1], numbered[0])
    own: dict[str, Any] = {}
    for one in dataclasses.fields(ThreatModel):
        if one.name in table.values and one.name != "defences":
            own[one.name] = table.like(one.name, one.default)
    texts = table.listed("defences", str, 'texts such as "clip:norm=0.5"')
    defences = _within(table, lambda: tuple(read_defence(text) for text in texts))
    return Threat(table.text("name"), ThreatModel(**own, defences=defences), table.truth("augmented", False))


def _attack(numbered: tuple[int, Any]) -> AttackChoice:
    table = Table("attacks", numbered[1], numbered[0])
    attack = table.text("attack")
    return AttackChoice(table.text("name", attack), attack, table.table("settings"), table.whole("controls", 2))


def _skip(numbered: tuple[int, Any]) -> Skip:
    table = Table("skip", numbered[1], numbered[0])
    return Skip(**{key: table.text(key) for key in table.values})


def _within(table: Table, read: Any) -> Any:
    """What `read` gives; its complaint with the table that it is about."""
    try:
        return read()
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')} (in {table.where}).") from None


def _sentence(words: str) -> str:
    """As a sentence begins."""
    return words[:1].upper() + words[1:]


def _shown(value: object) -> str:
    return repr(safe_text(str(value), 60))


def _plain(one: Any, brief: bool) -> dict[str, Any]:
    """Fields of a dataclass, and of those within it; None is left out, as TOML has none."""
    found: dict[str, Any] = {}
    for each in dataclasses.fields(one):
        value = getattr(one, each.name)
        usual = each.default_factory() if callable(each.default_factory) else each.default
        if value is None or (brief and value == usual):
            continue
        if dataclasses.is_dataclass(value):
            value = _plain(value, brief)
        found[each.name] = list(value) if isinstance(value, tuple) else value
    return found


def _recipe_table(training: Training, brief: bool) -> dict[str, Any]:
    if training.recipe is None:
        return {"name": training.name, "trained": False}
    checkpoints: Sequence[int] = list(training.checkpoints)
    return {
        "name": training.name,
        **({"checkpoints": checkpoints} if checkpoints else {}),
        **_plain(training.recipe, brief),
    }


def _threat_table(threat: Threat, brief: bool) -> dict[str, Any]:
    table = {"name": threat.name, "augmented": threat.augmented, **_plain(threat.model, brief)}
    if brief and not threat.augmented:
        del table["augmented"]
    if threat.model.defences:
        table["defences"] = [write_defence(chosen) for chosen in threat.model.defences]
    return table
