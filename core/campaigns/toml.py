"""Campaigns as TOML files. Imports no torch."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from core.campaigns.parse import parse, to_tables
from core.campaigns.plan import Campaign
from core.errors import UserError

LARGEST = 1_000_000  # characters; a plan is a page of text
BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def read_toml(text: str) -> Campaign:
    """The campaign that a TOML text describes. Raises UserError in one sentence, with the line of a slip of syntax."""
    if len(text) > LARGEST:
        raise UserError(f"A campaign is at most {LARGEST:,} characters of TOML, not {len(text):,}; is this the file?")
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"This is not TOML: {error}; correct it there.") from None
    return parse(values)


def write_toml(campaign: Campaign) -> str:
    """TOML that `read_toml` turns into the same campaign; what is as usual is left out."""
    tables = to_tables(campaign, brief=True)
    lines = [f"{name} = {_value(value)}" for name, value in tables.items() if not isinstance(value, list)]
    for name, entries in tables.items():
        for entry in entries if isinstance(entries, list) else ():
            lines += ["", f"[[{name}]]", *(f"{_key(key)} = {_value(value)}" for key, value in entry.items())]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if BARE.match(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    return repr(value)  # 1e-05 and nan are TOML too
