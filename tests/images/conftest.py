"""Settings over an empty home."""

from pathlib import Path

import pytest

from core.settings import Settings, load_settings


@pytest.fixture
def settings(home: Path) -> Settings:
    """An empty home with an empty folder of data sets."""
    return load_settings()
