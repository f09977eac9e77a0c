"""Registries are plain dicts: these two functions keep names unique and mistakes friendly."""

import difflib
from collections.abc import Mapping, MutableMapping
from typing import TypeVar

from core.errors import UserError

Entry = TypeVar("Entry")


def register(registry: MutableMapping[str, Entry], name: str, entry: Entry) -> Entry:
    """Add `entry` under `name`; raise ValueError if the name is taken."""
    if name in registry:
        raise ValueError(f"{name!r} is registered already; choose another name.")
    registry[name] = entry
    return entry


def look_up(registry: Mapping[str, Entry], name: str, kind: str) -> Entry:
    """Return the entry called `name`; raise UserError that names the nearest neighbours.

    `kind` is the word for what the registry holds, such as "metric".
    """
    if name in registry:
        return registry[name]
    near = difflib.get_close_matches(name, registry, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(registry))}."
    raise UserError(f"There is no {kind} called {name[:80]!r}; {hint}")
