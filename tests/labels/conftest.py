"""A small store with two runs to label."""

from pathlib import Path

import pytest

from core.settings import load_settings
from core.storage.store import Store, open_store
from tests.filled_store import Filled, fill_store


@pytest.fixture
def store(home: Path) -> Store:
    return open_store(load_settings())


@pytest.fixture
def filled(store: Store) -> Filled:
    return fill_store(store, originals=6, runs=2)
