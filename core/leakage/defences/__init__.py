"""All defences by name, and how a user's settings become a config. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.knobs import changed
from core.leakage.defences.base import Defence
from core.registry import look_up

DEFENCES: dict[str, Defence] = {}


def configure_defence(name: str, settings: Mapping[str, object]) -> Any:
    """The config of the defence called `name` with these settings in place of its defaults. Raises UserError."""
    return changed(look_up(DEFENCES, name, "defence").config, settings)
