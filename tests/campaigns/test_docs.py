"""docs/campaigns.md: its example runs, and no key is left unexplained."""

import dataclasses
import re
from pathlib import Path

import pytest

from core.campaigns.grid import expand
from core.campaigns.parse import TABLES
from core.campaigns.presets import PRESETS
from core.campaigns.toml import read_toml
from core.jobs.campaigns import submit_campaign
from core.models.training.recipe import Recipe
from core.settings import load_settings
from core.storage.store import open_store

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "campaigns.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_explained(table: str):
    recipe = {one.name for one in dataclasses.fields(Recipe)}
    for key in TABLES[table]:
        explained = re.search(
            rf"^(# )?{key} = |^\[\[{key}\]\]|[{{,`] ?{key}( =|`)|\b{key}\b,|, {key}\b", TEXT, re.MULTILINE
        )
        assert explained, f"{key} of [[{table}]] is not in docs/campaigns.md"
        if table == "recipes" and key in recipe:
            assert f"`{key}`" in TEXT


def test_the_example_can_be_launched(home):
    assert EXAMPLE is not None
    campaign = read_toml(EXAMPLE.group(1))
    store = open_store(load_settings())
    submitted = submit_campaign(store, campaign)
    assert not submitted.already
    # 1 data × (convnet: epoch 5, last, untrained; the preset once) × 3 threats × 1 attack, without 1 that is skipped
    assert len(expand(campaign)) == 4 * 3 - 1
    store.database.dispose()


def test_every_preset_is_in_the_table():
    for name, preset in PRESETS.items():
        assert f"| `{name}` | {len(expand(preset.campaign))} |" in TEXT
