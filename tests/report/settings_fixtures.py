"""A store with a campaign of settings, made once and copied for each test."""

import os
import shutil
from pathlib import Path

import pytest

from core.settings import load_settings
from core.storage.store import Store, open_store
from tests.filled_settings import FilledSettings, fill_settings


@pytest.fixture(scope="session")
def settings_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FilledSettings]:
    """A home with 5 settings that are done, one that waits, one in training, one that failed."""
    folder = tmp_path_factory.mktemp("settings") / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMSIGHT_")}
    store = open_store(load_settings(environment | {"SEMSIGHT_HOME": str(folder)}))
    made = fill_settings(store)
    store.database.dispose()
    return folder, made


@pytest.fixture
def settings_store(home: Path, settings_template: tuple[Path, FilledSettings]) -> Store:
    """The template's rows, in this test's own home."""
    shutil.copytree(settings_template[0], home)
    return open_store(load_settings())


@pytest.fixture
def filled(settings_template: tuple[Path, FilledSettings]) -> FilledSettings:
    """What is in it."""
    return settings_template[1]
