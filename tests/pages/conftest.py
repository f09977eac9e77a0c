"""The whole app in this process, without a browser and without a runner."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.settings import load_settings
from core.storage.store import Store, open_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(home: Path) -> Store:
    """The store of an empty home, the one that the app opens too."""
    return open_store(load_settings())


def _ask(test: AppTest, query: dict[str, str]) -> None:
    for name, value in query.items():
        test.query_params[name] = value


@pytest.fixture
def app(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """app("pages/audit.py", run="1") -> the page after its first run; no runner is started."""
    monkeypatch.setattr("pages._shared.ensure_runner", lambda settings: 1)
    monkeypatch.setenv("SEMSIGHT_FOLDERS", str(home.parent))  # the test's own folder
    monkeypatch.chdir(ROOT)
    st.cache_resource.clear()
    st.cache_data.clear()

    def opened(page: str = "pages/overview.py", **query: str) -> AppTest:
        test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        _ask(test, query)
        if page == "pages/overview.py":
            return test.run()
        test.run()  # st.navigation lists the pages; before that none can be switched to
        test.switch_page(page)
        _ask(test, query)
        return test.run()

    yield opened
    st.cache_resource.clear()
    st.cache_data.clear()
