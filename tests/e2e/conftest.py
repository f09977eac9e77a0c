"""A running app with a home of its own, and Debian's Chromium to look at it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from core.settings import load_settings
from core.storage.store import Store, open_store

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or ""
START_LIMIT = 90  # seconds for a server to answer on a busy machine; a limit, not an expectation
SLOW = 30_000  # ms that a page may take on a busy machine before a test gives up


@dataclass(frozen=True)
class App:
    """A served app and its store."""

    url: str
    store: Store
    process: subprocess.Popen[bytes]
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"The app did not start; its log ends with:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., App]]:
    """serve(fill=None) -> App: starts `streamlit run app.py` on a new home, which `fill(store)` may fill first."""
    started: list[App] = []

    def start(fill: Callable[[Store], object] | None = None) -> App:
        folder = tmp_path_factory.mktemp("app")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMSIGHT_")}
        environment |= {"SEMSIGHT_HOME": str(folder / "home"), "SEMSIGHT_THREADS": "1"}
        store = open_store(load_settings(environment))
        if fill is not None:
            fill(store)
        port, log = free_port(), folder / "app.log"
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
        with log.open("wb") as out:
            process = subprocess.Popen([*command, *options], cwd=ROOT, env=environment, stdout=out, stderr=out)
        app = App(f"http://127.0.0.1:{port}", store, process, log)
        started.append(app)
        wait_until_healthy(app.url, process, log)
        return app

    yield start
    for app in started:
        app.process.terminate()
        app.process.wait(timeout=30)
        app.store.database.dispose()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. The sandbox is off because tests may run as root in a container."""
    if not CHROMIUM:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh profile, wide screen."""
    made = chromium.new_context(viewport={"width": 1280, "height": 900})
    made.set_default_timeout(SLOW)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A new tab; an uncaught error in the page's own scripts fails the test."""
    tab = context.new_page()
    tab.on("pageerror", lambda error: pytest.fail(f"The page raised {error}"))
    return tab
