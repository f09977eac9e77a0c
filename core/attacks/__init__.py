"""All attacks by name, and how a user's settings become a config. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.attacks.analytic import ANALYTIC
from core.attacks.base import Attack
from core.attacks.cpl import CPL_SAPAG
from core.attacks.deep_inversion import DEEP_INVERSION
from core.attacks.dlg import DLG, DLG_PAPER
from core.attacks.fedavg import SIMULATED, SME
from core.attacks.gradinversion import GRADINVERSION, GRADINVERSION_PAPER
from core.attacks.huang import HUANG, HUANG_PAPER
from core.attacks.idlg import IDLG, IDLG_PAPER
from core.attacks.imprint import IMPRINT
from core.attacks.inverting import INVERTING, INVERTING_LARGE, INVERTING_PAPER
from core.attacks.mi_face import MI_FACE
from core.attacks.modern import MODERN, MODERN_LONG
from core.knobs import changed
from core.registry import look_up, register

ATTACKS: dict[str, Attack] = {}
for _attack in (
    DLG,
    DLG_PAPER,
    IDLG,
    IDLG_PAPER,
    INVERTING,
    INVERTING_PAPER,
    INVERTING_LARGE,
    ANALYTIC,
    IMPRINT,
    GRADINVERSION,
    GRADINVERSION_PAPER,
    HUANG,
    HUANG_PAPER,
    CPL_SAPAG,
    MODERN,
    MODERN_LONG,
    MI_FACE,
    DEEP_INVERSION,
    SIMULATED,
    SME,
):
    register(ATTACKS, _attack.name, _attack)


def configure(attack: str, overrides: Mapping[str, object]) -> Any:
    """The config of the attack called `attack` with these settings, as values or text, in place of its defaults.

    Raises UserError for an unknown attack, an unknown setting (with its nearest neighbour) and a value out of range.
    """
    return changed(look_up(ATTACKS, attack, "attack").config, overrides)


config_from_dict = configure  # a stored payload holds every field: the same check on the way back
