"""Registries are plain dicts: these two functions keep names unique and mistakes friendly."""

import difflib
from collections.abc import Mapping, MutableMapping
from typing import TypeVar

from core.errors import UserError

Entry = TypeVar("Entry")
CLOSE = 0.6  # likeness of two names, 0 to 1: a slip or two of the keyboard, no other word
LISTED = 30  # names that one sentence holds


def register(registry: MutableMapping[str, Entry], name: str, entry: Entry) -> Entry:
    """Add `entry` under `name`; raise ValueError if the name is taken."""
    if name in registry:
        raise ValueError(f"{name!r} is registered already; choose another name.")
    registry[name] = entry
    return entry


def look_up(registry: Mapping[str, Entry], name: str, kind: str) -> Entry:
    """Return the entry called `name`; raise UserError that names those close to it, or else what there is.

    `kind` is the word for what the registry holds, such as "metric".
    """
    if name in registry:
        return registry[name]
    begun = [known for known in registry if len(name) > 1 and known.startswith(name)]
    near = list(dict.fromkeys([*difflib.get_close_matches(name, registry, n=3, cutoff=CLOSE), *begun]))[:3]
    known = sorted(registry)
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known[:LISTED])}{more}."
    raise UserError(f"There is no {kind} called {name[:80]!r}; {hint}")
