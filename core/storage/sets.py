"""How sets of pairings are named, so that who writes them and who reads them agree. Imports no torch.

A set is all that an attack chose in one run, or in every run of one *setting*: the same model, threat model with its
defences, attack with its settings, and data set; seeds, originals, controls and devices may differ.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

Scope = Literal["run", "setting"]
SCOPES: tuple[Scope, ...] = ("run", "setting")
SETTING = ("model", "threat", "attack", "config")  # fields of a stored attack that make its setting


def setting_key(payload: Mapping[str, Any], dataset: str) -> str:
    """sha256, in hex, of what makes a setting. payload: the JSON object of a stored attack job."""
    parts = {name: payload.get(name) for name in SETTING}
    text = json.dumps({**parts, "dataset": dataset}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def set_name(scope: Scope, key: str, reference: str) -> str:
    """The name of a set's row: scope, run id or setting key, and what the reconstructions are compared with."""
    return f"{scope} {key} {reference}"
