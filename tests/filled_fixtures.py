"""A small store with two runs to label; made once and copied for each test."""

import os
import shutil
from pathlib import Path

import pytest

from core.settings import load_settings
from core.storage.store import Store, open_store
from tests.filled_store import Filled, fill_store


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Filled]:
    """A home with 6 originals and 2 runs, and what is in it."""
    folder = tmp_path_factory.mktemp("template") / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMSIGHT_")}
    store = open_store(load_settings(environment | {"SEMSIGHT_HOME": str(folder)}))
    made = fill_store(store, originals=6, runs=2)
    store.database.dispose()
    return folder, made


@pytest.fixture
def filled(home: Path, template: tuple[Path, Filled]) -> Filled:
    """The template's rows, in this test's own home."""
    if not home.exists():
        shutil.copytree(template[0], home)
    return template[1]


@pytest.fixture
def store(request: pytest.FixtureRequest, home: Path) -> Store:
    """This test's store: filled if the test asks for `filled` too, else empty."""
    if "filled" in request.fixturenames:
        request.getfixturevalue("filled")
    return open_store(load_settings())
