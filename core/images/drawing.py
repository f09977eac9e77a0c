"""Which pictures of a data set are taken: by a draw that the seed fixes, or by a list of names. No torch.

A class's pictures are ordered by the seed and their names alone, and the classes take turns. So the draw of n is the
beginning of the draw of n + 1, as balanced as it can be, and does not change when other classes come or go.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.errors import UserError
from core.images.dataset import PARTS, TEST, TRAIN, DataChoice, DataSet
from core.images.split import held_out, ranks
from core.names import safe_text


def choose(dataset: DataSet, choice: DataChoice) -> tuple[int, ...]:
    """Places in dataset.entries, in the order of the draw or of the list.

    Raises UserError for a data set that changed since the choice was stored, names and classes that it does not have,
    and more pictures than there are.
    """
    check_same(dataset, choice.fingerprint)
    if choice.names:
        return _listed(dataset, choice.names)
    if choice.part not in PARTS:
        raise UserError(f"The part is {TRAIN} or {TEST}, not {choice.part[:40]!r}; correct it.")
    for what, number in (("images", choice.count), ("images of each class", choice.per_class)):
        if number is not None and number < 1:
            raise UserError(f"The number of {what} must be at least 1, not {number}.")
    groups = _groups(dataset, choice)
    if choice.per_class is not None:
        groups = {label: _first(dataset, choice, label, group) for label, group in groups.items()}
    places = _in_turn(dataset, groups, choice)
    if choice.count is None:
        return places
    if choice.count > len(places):
        raise UserError(_too_many(dataset, choice, len(places)))
    return places[: choice.count]


def fix(dataset: DataSet, choice: DataChoice) -> DataChoice:
    """The choice with the data set's name and fingerprint; UserError where it cannot be met."""
    choose(dataset, choice)
    return replace(choice, dataset=dataset.name, fingerprint=dataset.fingerprint)


def check_same(dataset: DataSet, fingerprint: str) -> None:
    """Raise UserError where a stored fingerprint is another one than the data set has now."""
    if fingerprint and fingerprint != dataset.fingerprint:
        raise UserError(
            f"{dataset.title} is not what it was when this choice was made (its names, labels or pictures "
            "changed); put the old files back, or choose anew."
        )


def in_part(dataset: DataSet, choice: DataChoice) -> np.ndarray:
    """(N,) True for the entries of choice.part: as published, or by the choice's split seed and share."""
    entries = dataset.entries
    if dataset.published_split:
        test = np.fromiter((entry.part == TEST for entry in entries), bool, len(entries))
    else:
        if not 0 <= choice.held_out < 1:
            raise UserError(f"The held-out share must be from 0 up to below 1, not {choice.held_out}.")
        names, labels = [entry.name for entry in entries], [entry.label for entry in entries]
        test = held_out(names, labels, share=choice.held_out, seed=choice.split_seed)
    return test if choice.part == TEST else ~test


def class_places(dataset: DataSet, classes: Sequence[str]) -> tuple[int, ...]:
    """Places of these classes in dataset.classes, ascending; all for none named. UserError for one it does not have."""
    if not classes:
        return tuple(range(len(dataset.classes)))
    known = {name: place for place, name in enumerate(dataset.classes)}
    for name in classes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f"did you mean {', '.join(near)}?" if near else "look at its list of classes."
            raise UserError(f"{dataset.title} has no class called {safe_text(name)!r}; {hint}")
    return tuple(sorted({known[name] for name in classes}))


def _groups(dataset: DataSet, choice: DataChoice) -> dict[int, list[int]]:
    """Class -> its places in the part, in the order of the draw."""
    entries = dataset.entries
    wanted = class_places(dataset, choice.classes)
    allowed = np.zeros(len(dataset.classes), dtype=bool)
    allowed[list(wanted)] = True
    labels = np.fromiter((entry.label for entry in entries), np.int64, len(entries))
    places = np.flatnonzero(in_part(dataset, choice) & allowed[labels])
    if not len(places):
        raise UserError(f"The {_words(choice.part)} of {dataset.title} holds no image of these classes; choose others.")
    drawn = ranks([entries[int(place)].name for place in places], choice.seed, "draw")
    groups: dict[int, list[int]] = {label: [] for label in wanted}
    for place in places[np.argsort(drawn, kind="stable")]:
        groups[int(labels[place])].append(int(place))
    return groups


def _first(dataset: DataSet, choice: DataChoice, label: int, group: list[int]) -> list[int]:
    if choice.per_class is None:
        return group
    if len(group) < choice.per_class:
        raise UserError(
            f"{choice.per_class:,} images of each class were asked for, but the {_words(choice.part)} of "
            f"{dataset.title} holds {len(group):,} of {dataset.classes[label]}; ask for fewer, or leave that class out."
        )
    return group[: choice.per_class]


def _too_many(dataset: DataSet, choice: DataChoice, there: int) -> str:
    """What each part holds under the same choice, for whoever asked for more than there is."""
    limits = " of these classes" * bool(choice.classes)
    limits += f" at {choice.per_class:,} of each class" if choice.per_class is not None else ""
    other = TRAIN if choice.part == TEST else TEST
    said = (
        f"{choice.count:,} images were asked for, but the {_words(choice.part)} of {dataset.title} holds {there:,}"
        f"{limits}"
    )
    try:
        beside = len(choose(dataset, replace(choice, part=other, count=None)))
    except UserError:  # the other part does not meet the limits at all
        return f"{said}; ask for fewer, or allow more."
    return f"{said}; ask for fewer, or take the {_words(other)} ({other}), which holds {beside:,}."


def _in_turn(dataset: DataSet, groups: dict[int, list[int]], choice: DataChoice) -> tuple[int, ...]:
    """One of each class, then a second of each …; the classes in an order that the seed fixes."""
    labels = list(groups)
    order = np.argsort(ranks([dataset.classes[label] for label in labels], choice.seed, "classes"), kind="stable")
    rows = [(turn, number, place) for number, one in enumerate(order) for turn, place in enumerate(groups[labels[one]])]
    return tuple(place for _, _, place in sorted(rows))


def _listed(dataset: DataSet, names: Sequence[str]) -> tuple[int, ...]:
    known = {entry.name: place for place, entry in enumerate(dataset.entries)}
    missing = [name for name in names if name not in known]
    if missing:
        near = difflib.get_close_matches(missing[0], known, n=1, cutoff=0.6) if len(known) < 100_000 else []
        hint = f"did you mean {near[0]}?" if near else "the list is of another data set, or was changed."
        raise UserError(
            f"{dataset.title} has no picture called {safe_text(missing[0])!r} ({len(missing):,} such names); {hint}"
        )
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise UserError(f"The list names {safe_text(twice)!r} twice; keep one of them.")
    return tuple(known[name] for name in names)


def _words(part: str) -> str:
    return "held-out part" if part == TEST else "training part"
