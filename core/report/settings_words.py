"""A setting's parts in words, where no campaign has named them. Imports no torch."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from core.leakage.threat import ThreatModel
from core.models.training.recipe import PAPER_RECIPES, Recipe

MOST = 80  # characters of a part
_SHARED = {"gradients": "", "weights": "FedAvg", "none": "model alone"}


def threat_words(values: Mapping[str, Any]) -> str:
    """A stored threat model in a few words: its defences, then what differs from the easiest one."""
    threat = ThreatModel.from_dict(values)
    words = [
        one.name + (f" ({', '.join(f'{k} {_told(v)}' for k, v in one.settings.items())})" if one.settings else "")
        for one in threat.defences
    ] or ["no defence"]
    if threat.defences and not threat.adaptive:
        words.append("attacker not told")
    words += [_SHARED[threat.update]] if _SHARED[threat.update] else []
    words += [f"batch {threat.batch_size}"] if threat.batch_size > 1 else []
    words += [f"{threat.clients} clients"] if threat.clients > 1 else []
    words += [f"{threat.local_steps} local steps"] if threat.update == "weights" else []
    words += ["labels inferred"] if threat.labels == "inferred" and threat.update != "none" else []
    words += ["BatchNorm in train mode"] if threat.batchnorm == "train" else []
    words += ["batch statistics given"] if threat.batch_statistics else []
    words += [] if threat.running_statistics else ["no running statistics"]
    return _short(", ".join(words))


def epsilon_words(epsilon: str, delta: float | None, unit: str) -> str:
    """ε, which comes written out, with the δ and the unit that it stands for: "ε 3.2 (δ 1e-5, one image)"."""
    at = "δ not known" if delta is None else f"δ {_power(delta)}"
    whose = unit.partition(" (")[0] or "unit not known"
    return f"ε {epsilon} ({at}, {whose})"


def recipe_words(recipe: object) -> str:
    """A stored recipe in a few words: the paper's name for it, or what differs from the paper's crop+flip."""
    if not isinstance(recipe, Mapping):
        return _short(str(recipe)) if recipe else ""
    default = Recipe().to_dict()
    differ = {name: value for name, value in recipe.items() if name in default and value != default[name]}
    for name, known in PAPER_RECIPES.items():
        if {k: v for k, v in known.to_dict().items() if v != default[k]} == differ:
            return name
    return _short(", ".join(f"{name.replace('_', ' ')} {_told(value)}" for name, value in differ.items()))


def attack_words(rows: Sequence[tuple[Mapping[str, str], Mapping[str, Any]]]) -> list[str]:
    """Each row's attack; where rows have all parts in common, with what was asked for differently.

    rows: (parts, values) with the model, threat, attack and config of the payload.
    """
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, (parts, _) in enumerate(rows):
        alike[tuple(parts.values())].append(place)
    told = [parts.get("attack", "") for parts, _ in rows]
    for places in alike.values():
        flat = {place: dict(_flat(rows[place][1])) for place in places if rows[place][1]}
        names = [name for name in dict.fromkeys(k for one in flat.values() for k in one) if _varies(name, flat)]
        for place, one in flat.items():
            words = ", ".join(f"{name.rpartition('.')[2].replace('_', ' ')} {_told(one.get(name))}" for name in names)
            told[place] = _short(f"{told[place]} ({words})") if words else told[place]
    return told


def _varies(name: str, flat: Mapping[int, Mapping[str, Any]]) -> bool:
    return len({_told(one.get(name)) for one in flat.values()}) > 1


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else [(f"{before}{name}", value)]
    return found


def _told(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)[:40]


def _short(text: str) -> str:
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def _power(value: float) -> str:
    """1e-5 rather than Python's 1e-05."""
    mantissa, e, exponent = f"{value:g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa
