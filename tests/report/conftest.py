"""A store with real rows."""

from pathlib import Path

import pytest

from core.settings import load_settings
from core.storage.store import Store, open_store


@pytest.fixture
def store(home: Path) -> Store:
    """The store of an empty home."""
    return open_store(load_settings())
