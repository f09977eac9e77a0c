"""Weights fetched in the background: progress, outcome, one at a time, nothing half-loaded."""

import fcntl
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import UserError
from core.jobs import fetch, fetch_child
from core.jobs.fetch import Fetch, fetched, start
from core.models.weights import WEIGHTS, FoundWeights, find_weights
from core.settings import Settings, load_settings

NAME = "alexnet-imagenet-features"
LONG = 120  # seconds, a limit on a busy machine


@pytest.fixture
def settings(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """An empty home, no torch cache, and no way out of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens: refused at once
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield load_settings()
    for child in fetch._children.values():
        child.kill()
        child.wait()
    fetch._children.clear()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def published(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our own AlexNet file as if it were what is published, at a file address, to be taken as it is."""
    path = shared / "weights" / f"{NAME}.safetensors"
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    record = replace(WEIGHTS[NAME], url=path.as_uri(), sha256=sha, layout="safetensors", cached=False)
    monkeypatch.setitem(WEIGHTS, NAME, record)
    return path


def test_a_download_that_fails_is_one_sentence_and_can_be_tried_again(settings: Settings) -> None:
    assert fetched(settings, NAME) == Fetch()
    start(settings, NAME)
    start(settings, NAME)  # a second press changes nothing
    assert fetched(settings, NAME).running
    wait_for(lambda: not fetched(settings, NAME).running)
    failed = fetched(settings, NAME)
    assert "the download failed" in failed.problem
    assert "check the connection" in failed.problem
    assert not list(settings.weights.glob("*"))
    start(settings, NAME)
    assert fetched(settings, NAME).running


def test_a_download_that_works_in_a_process_of_its_own(
    settings: Settings, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is the real one, but for the address."""
    script = tmp_path / "child.py"
    script.write_text(f"""
from dataclasses import replace
from core.models.weights import WEIGHTS
from core.jobs.fetch_child import main
WEIGHTS[{NAME!r}] = replace(
    WEIGHTS[{NAME!r}], url={published.as_uri()!r}, sha256={WEIGHTS[NAME].sha256!r}, layout="safetensors", cached=False
)
main()
""")
    code = f"import sys; sys.argv = sys.argv[1:]; exec(compile(open({str(script)!r}).read(), 'child', 'exec'))"
    monkeypatch.setattr(fetch, "COMMAND", (sys.executable, "-W", "error", "-c", code, "child"))
    start(settings, NAME)
    wait_for(lambda: not fetched(settings, NAME).running)
    assert fetched(settings, NAME) == Fetch()
    found = find_weights(NAME, settings)
    assert isinstance(found, FoundWeights)
    assert found.path.read_bytes() == published.read_bytes()
    assert [path.name for path in settings.weights.iterdir()] == [f"{NAME}.safetensors"]


def test_another_checksum_is_not_taken_in(settings: Settings, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, NAME, replace(WEIGHTS[NAME], sha256="0" * 64))
    (settings.home / "fetch").mkdir(parents=True)
    fetch_child.fetch(settings, NAME, settings.home / "fetch" / f"{NAME}.json")
    assert "checksum" in fetched(settings, NAME).problem
    assert not list(settings.weights.glob("*"))


def test_progress_is_bytes_of_all_bytes(settings: Settings, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_child, "EVERY", 0.0)
    seen: list[dict[str, object]] = []
    write = fetch_child.write
    monkeypatch.setattr(fetch_child, "write", lambda path, values: (seen.append(values), write(path, values)))
    (settings.home / "fetch").mkdir(parents=True)
    fetch_child.fetch(settings, NAME, settings.home / "fetch" / f"{NAME}.json")
    size = published.stat().st_size
    assert seen[0] == {"bytes": 0}
    assert seen[-2] == {"bytes": size, "total": size}
    assert seen[-1] == {"done": True}
    assert fetch._how_far({"bytes": 0}) == (None, "asking for it")
    assert fetch._how_far({"bytes": 3 << 20, "total": None}) == (None, "3 MiB so far")
    assert fetch._how_far({"bytes": 3 << 20, "total": 12 << 20}) == (0.25, "3 of 12 MiB")
    assert fetch._how_far(seen[-2]) == (1.0, "checking it and taking it in")


def test_another_app_s_download_is_seen_and_not_begun_twice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.home / "fetch"
    folder.mkdir(parents=True)
    (folder / f"{NAME}.json").write_text(json.dumps({"bytes": 1 << 20, "total": 4 << 20}))
    with (folder / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert fetched(settings, NAME) == Fetch(True, 0.25, "1 of 4 MiB")
        start(settings, NAME)
        assert not fetch._children
        monkeypatch.setattr(sys, "argv", ["fetch_child", NAME])
        fetch_child.main()  # leaves at once
        assert json.loads((folder / f"{NAME}.json").read_text())["bytes"] == 1 << 20
    assert "ended before it was done" in fetched(settings, NAME).problem


def test_an_old_failure_is_forgotten_and_a_name_that_is_none_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.home / "fetch"
    folder.mkdir(parents=True)
    (folder / f"{NAME}.json").write_text(json.dumps({"problem": "no line"}))
    assert fetched(settings, NAME).problem == "no line"
    monkeypatch.setattr(fetch, "SAID_FOR", -1.0)
    assert fetched(settings, NAME) == Fetch()
    with pytest.raises(UserError, match="no pretrained weights called"):
        start(settings, "../../etc/passwd")


def test_imagenet_weights_are_fetched_by_their_own_name(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from torchvision.models import get_model

    from core.models.pretrained import PRETRAINED, where_found

    architecture, report = "shufflenet_v2_x0_5", tmp_path / "report.json"
    draft = tmp_path / "draft.pth"
    torch.save(get_model(architecture, weights=None).state_dict(), draft)
    path = draft.rename(tmp_path / f"shuffle-{hashlib.sha256(draft.read_bytes()).hexdigest()[:8]}.pth")
    monkeypatch.setitem(PRETRAINED, architecture, replace(PRETRAINED[architecture], url=path.as_uri()))
    fetch_child.fetch(settings, f"{architecture}-imagenet", report)
    assert json.loads(report.read_text()) == {"done": True}
    assert where_found(architecture, settings) == settings.weights / f"{architecture}-imagenet.safetensors"
    with pytest.raises(UserError, match="no pretrained weights called"):
        start(settings, "shufflenet-imagenet")
