"""Data sets fetched in the background: a process of its own, progress, stop, outcome."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from core.errors import UserError
from core.images.published import DATASETS, DataFile, is_here
from core.jobs import fetch, fetch_data, fetch_data_child
from core.jobs.fetch import Fetch
from core.settings import Settings, load_settings
from tests.images.file_server import Host, serving

NAME = "imagenette"
CONTENT = bytes(range(256)) * 4096
LONG = 120  # seconds, a limit on a busy machine


@pytest.fixture
def settings(home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An empty home, and no way out of this machine for the children."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens: refused at once
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    yield load_settings()
    for child in fetch._children.values():
        child.kill()
        child.wait()
    fetch._children.clear()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Imagenette's archive on a host of ours, for this process."""
    with serving(CONTENT) as one:
        file = DataFile("imagenette2-160.tgz", one.url, f"md5:{hashlib.md5(CONTENT).hexdigest()}", len(CONTENT))
        monkeypatch.setitem(DATASETS, NAME, replace(DATASETS[NAME], files=(file,)))
        yield one


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_that_is_not_done_can_be_seen_and_asked_to_stop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = settings.home / "fetch" / f"data-{NAME}.stop"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(stop)!r}).exists(): time.sleep(0.02)"
    monkeypatch.setattr(fetch_data, "COMMAND", (sys.executable, "-c", waits))
    assert fetch_data.fetched(settings, NAME) == Fetch()
    fetch_data.start(settings, NAME)
    fetch_data.start(settings, NAME)  # a second press changes nothing
    assert fetch_data.fetched(settings, NAME).running
    (settings.home / "fetch" / f"data-{NAME}.json").write_text(json.dumps({"bytes": 50 << 20, "total": 100 << 20}))
    assert fetch_data.fetched(settings, NAME) == Fetch(True, 0.5, "50 of 100 MiB")
    fetch_data.cancel(settings, NAME)
    wait_for(lambda: not fetch_data.fetched(settings, NAME).running)


def test_the_real_child_reports_a_refusal_in_a_sentence(settings: Settings) -> None:
    (settings.datasets / NAME).parent.mkdir(parents=True)
    settings.datasets.joinpath(NAME).write_text("a file where the folder belongs")
    fetch_data.start(settings, NAME)
    wait_for(lambda: not fetch_data.fetched(settings, NAME).running)
    assert "cannot be written to" in fetch_data.fetched(settings, NAME).problem


def test_it_ends_done_with_the_file_in_place(settings: Settings, host: Host) -> None:
    report = settings.home / "report.json"
    settings.home.mkdir(parents=True)
    fetch_data_child.fetch(settings, NAME, report)
    assert json.loads(report.read_text()) == {"done": True}
    assert is_here(NAME, settings)


def test_it_ends_stopped_and_goes_on_from_there(
    settings: Settings, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.images.download.CHUNK", 1 << 14)
    report = settings.home / "report.json"
    fetch_data.cancel(settings, NAME)
    fetch_data_child.fetch(settings, NAME, report)
    assert "was stopped; it goes on where it ended" in json.loads(report.read_text())["problem"]
    fetch_data.stop_file(settings, NAME).unlink()
    fetch_data_child.fetch(settings, NAME, report)
    assert json.loads(report.read_text()) == {"done": True}
    assert host.requests[-1][0] not in (None, "bytes=0-")


def test_a_set_by_hand_and_an_unknown_one_are_refused_before_a_process_starts(settings: Settings) -> None:
    with pytest.raises(UserError, match="CelebA cannot be downloaded"):
        fetch_data.start(settings, "celeba")
    with pytest.raises(UserError, match="no data set called"):
        fetch_data.start(settings, "nothing")
    assert not fetch._children
