"""All attacks by name, and how a user's settings become a config. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.attacks.analytic import ANALYTIC
from core.attacks.base import Attack
from core.attacks.dlg import DLG, DLG_PAPER
from core.attacks.idlg import IDLG, IDLG_PAPER
from core.attacks.imprint import IMPRINT
from core.attacks.inverting import INVERTING, INVERTING_LARGE, INVERTING_PAPER
from core.knobs import changed
from core.registry import look_up, register

ATTACKS: dict[str, Attack] = {}
for _attack in (DLG, DLG_PAPER, IDLG, IDLG_PAPER, INVERTING, INVERTING_PAPER, INVERTING_LARGE, ANALYTIC, IMPRINT):
    register(ATTACKS, _attack.name, _attack)


def configure(attack: str, overrides: Mapping[str, object]) -> Any:
    """The config of the attack called `attack` with these settings, as values or text, in place of its defaults.

    Raises UserError for an unknown attack, an unknown setting (with its nearest neighbour) and a value out of range.
    """
    return changed(look_up(ATTACKS, attack, "attack").config, overrides)


config_from_dict = configure  # a stored payload holds every field: the same check on the way back
