"""The child that computes for pages: it never keeps a page waiting, survives crashes, and leaves nothing behind."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.images.samples import photos
from core.jobs import aside, aside_child
from core.jobs.aside import Answer
from core.jobs.aside_service import COMMAND, MOST_BYTES, Aside, Question
from core.jobs.packing import blob, pack, unpack
from core.metrics.base import Score
from core.metrics.registry import METRICS
from core.metrics.scoring import score_pairs
from core.settings import Settings, load_settings
from core.storage.artifacts import encode_png

ROOT = Path(__file__).resolve().parents[2]
LONG = 120  # seconds, a limit on a busy machine
# A child without torch: echoes, sleeps, dies, or writes nonsense, as the question's "what" says.
FAKE = """
import os, struct, sys, time
from core.jobs.packing import pack, unpack
while len(head := sys.stdin.buffer.read(8)) == 8:
    header, arrays = unpack(sys.stdin.buffer.read(struct.unpack(">Q", head)[0]))
    what = header["what"]
    if what == "die" or (what == "die once" and not os.path.exists(header["mark"])):
        open(header["mark"], "w").close()
        os.kill(os.getpid(), 9)
    time.sleep(header.get("sleep", 0))
    data = b"nonsense" if what == "nonsense" else pack({"pid": os.getpid(), "n": header.get("n")}, {})
    sys.stdout.buffer.write(struct.pack(">Q", len(data)) + data)
    sys.stdout.buffer.flush()
"""


def until(ask: Callable[[], Answer]) -> Answer:
    deadline = time.monotonic() + LONG
    while not (answer := ask()).ready and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + LONG
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    """A zombie counts as alive: it is one that nobody waited for."""
    return Path(f"/proc/{pid}").exists()


def pipes() -> int:
    """Open pipes of this process. A plain count of descriptors would see other libraries' too."""
    found = 0
    for one in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(one).startswith("pipe:")
        except OSError:
            continue
    return found


@pytest.fixture
def settings(home: Path, shared: Path) -> Settings:
    own = {"folders": (home, shared), "anywhere": False}  # what the app's pages have set
    return replace(load_settings(), weights=shared / "weights", torch_cache=None, threads=1, **own)


@pytest.fixture
def service() -> Iterator[Aside]:
    """The one that pages use, ended before, as a page's test may have started it for another home, and afterwards."""
    aside.service.close()
    yield aside.service
    aside.service.close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Callable[..., Aside]]:
    made: list[Aside] = []

    def start(**options: float) -> Aside:
        made.append(Aside((sys.executable, "-W", "error", "-c", FAKE), **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


def question(tmp_path: Path, what: str = "echo", key: str = "k", **values: object) -> Question:
    data = pack({"what": what, "mark": str(tmp_path / "mark"), **values}, {})
    return Question(key, data, lambda header, arrays: header, tmp_path)


# --- the real child ------------------------------------------------------------------------------------------
def test_a_map_and_scores_come_from_one_child_and_no_page_waits(settings: Settings, service: Aside) -> None:
    original, other = (encode_png(one.pixels) for one in photos()[:2])
    assert aside.lpips_map(settings, original, other) == Answer(False)  # said before it is known, so nobody waited
    found = until(lambda: aside.lpips_map(settings, original, other))
    assert found.problem == ""
    assert found.value.shape == (96, 96)
    assert found.value.dtype == np.float32
    assert not found.value.flags.writeable
    assert service.child is not None
    pid = service.child.process.pid
    pair = (photos()[0].pixels, photos()[1].pixels)
    scored = until(
        lambda: aside.example_scores(settings, [pair, (pair[0], pair[0])], ["psnr", "lpips_alex", "ms_ssim"])
    )
    direct = score_pairs([pair[0]] * 2, [pair[1], pair[0]], ["psnr", "lpips_alex", "ms_ssim"], settings)
    assert scored.value["psnr"] == direct["psnr"]
    assert scored.value["psnr"][1] == Score(float("inf"))  # identical images, through the pipe
    assert scored.value["lpips_alex"][0].value == pytest.approx(direct["lpips_alex"][0].value, rel=1e-4)
    assert scored.value["ms_ssim"] == direct["ms_ssim"]  # unavailable, with its reason
    assert float(found.value.mean()) == pytest.approx(direct["lpips_alex"][0].value, rel=0.05)  # near, not equal
    assert service.child.process.pid == pid
    assert (settings.home / "logs" / "aside.log").read_text() == ""  # no warning either


def test_missing_weights_are_one_sentence_and_torch_is_not_loaded_for_it(settings: Settings, service: Aside) -> None:
    bare = replace(settings, weights=settings.home / "none")
    png = encode_png(photos()[0].pixels)
    answer = until(lambda: aside.lpips_map(bare, png, png))
    assert answer.value is None
    assert "alexnet-imagenet-features.safetensors" in answer.problem
    assert service.child is not None
    maps = Path(f"/proc/{service.child.process.pid}/maps").read_text()
    assert "libtorch" not in maps


@pytest.mark.parametrize(
    ("original", "reconstruction", "says"),
    [
        (b"", b"x", "The original is no PNG"),
        (encode_png(np.zeros((40, 40, 3), np.uint8)), b"\x89PNG\r\n\x1a\nrubbish", "The reconstruction is no PNG"),
        (encode_png(np.zeros((40, 40), np.uint8)), encode_png(np.zeros((40, 41), np.uint8)), "40×40 and 41×40"),
        (encode_png(np.zeros((8, 40), np.uint8)), encode_png(np.zeros((8, 40), np.uint8)), "at least 31 px, got 8"),
    ],
)
def test_garbage_is_one_sentence(settings: Settings, original: bytes, reconstruction: bytes, says: str) -> None:
    header = {"what": "map", "metric": "lpips_alex", "settings": aside._plain(settings)}
    data = pack(header, {"original": blob(original), "reconstruction": blob(reconstruction)})
    found, arrays = unpack(aside_child.answer(data))
    assert says in found["problem"]
    assert not arrays


def test_what_is_no_question_at_all_is_answered_too() -> None:
    assert "problem" in unpack(aside_child.answer(b"rubbish"))[0]
    assert "problem" in unpack(aside_child.answer(pack({"what": "map"}, {})))[0]


def test_a_metric_that_fails_loses_no_other(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("no such layer")

    monkeypatch.setitem(METRICS, "ssim", replace(METRICS["ssim"], compute=broken))
    known = {"classes": ["cat"], "originals": ["cat-1"]}
    header = {"what": "scores", "names": ["mse", "ssim"], **known, "settings": aside._plain(settings)}
    pixels = np.zeros((16, 16, 3), np.uint8)
    scores = unpack(aside_child.answer(pack(header, {"o0": pixels, "r0": pixels})))[0]["scores"]
    assert scores["mse"] == [[0.0, ""]]
    assert scores["ssim"] == [[None, "it could not be computed (RuntimeError: no such layer)"]]


def test_questions_that_cannot_be_asked_are_one_sentence_at_once(settings: Settings) -> None:
    grey = np.zeros((8, 8), np.float32)
    assert "did you mean psnr" in aside.example_scores(settings, [], ["pnsr"]).problem
    assert "8-bit" in aside.example_scores(settings, [(grey, grey)], ["mse"]).problem
    byte = np.zeros((1, 1, 3), np.uint8)
    assert (
        "a name for each of 1 pairs, got 2"
        in aside.example_scores(settings, [(byte, byte)], ["mse"], ["cat", "dog"]).problem
    )
    assert "At most 64 pairs" in aside.example_scores(settings, [(byte, byte)] * 65, ["mse"]).problem
    large = np.zeros((5000, 5000, 3), np.uint8)
    assert "64 MiB" in aside.example_scores(settings, [(large, large)], ["mse"]).problem
    assert aside.service.child is None


def test_another_version_or_other_weights_are_another_answer(
    settings: Settings, service: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = (photos()[0].pixels, photos()[1].pixels)
    first = until(lambda: aside.example_scores(settings, [pair], ["mse"]))
    assert aside.example_scores(settings, [pair], ["mse"]) == first
    monkeypatch.setitem(METRICS, "mse", replace(METRICS["mse"], version="2"))
    assert aside.example_scores(settings, [pair], ["mse"]) == Answer(False)
    assert aside._mark("lpips_alex", settings) != aside._mark("lpips_alex", replace(settings, weights=settings.home))


def test_the_child_ends_with_an_app_that_is_killed(tmp_path: Path) -> None:
    """An app that is killed outright: nobody tells the child, but its input closes."""
    code = """
import sys, time
from pathlib import Path
from core.jobs.aside_service import Aside, Question
from core.jobs.packing import pack
service = Aside()
service.ask(Question("k", pack({"what": "scores"}, {}), lambda h, a: h, Path(sys.argv[1])))
while service.child is None or not service.ask(Question("k", b"", lambda h, a: h, Path(sys.argv[1]))).ready:
    time.sleep(0.05)
print(service.child.process.pid, flush=True)
time.sleep(600)
"""
    app = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert app.stdout is not None
    pid = int(app.stdout.readline())
    assert alive(pid)
    app.kill()
    app.wait()
    app.stdout.close()
    assert wait_for(lambda: not alive(pid))


def test_the_child_ends_even_while_it_computes(settings: Settings) -> None:
    pixels = np.zeros((1600, 1600, 3), np.uint8)
    header = {
        "what": "scores",
        "names": ["lpips_alex"],
        "classes": [None] * 2,
        "originals": [None] * 2,
        "settings": aside._plain(settings),
    }
    data = pack(header, {f"{side}{i}": pixels for side in "or" for i in range(2)})
    child = subprocess.run(
        COMMAND, input=struct.pack(">Q", len(data)) + data, cwd=ROOT, capture_output=True, timeout=LONG
    )  # its input closes as soon as the question is written
    assert (child.returncode, child.stdout, child.stderr) == (0, b"", b"")


def test_an_app_that_ends_in_order_leaves_no_child_and_no_warning(tmp_path: Path) -> None:
    code = """
import time
from core.settings import load_settings
from core.jobs import aside
while not aside.lpips_map(load_settings(), b"x", b"y").ready:
    time.sleep(0.05)
print(aside.service.child.process.pid)
"""
    environment = {**os.environ, "SEMSIGHT_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LONG, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert not alive(int(done.stdout))


# --- the service, with a child that needs no torch ---------------------------------------------------------------
def test_a_crash_is_tried_once_more(fake: Callable[..., Aside], tmp_path: Path) -> None:
    service = fake()
    first = until(lambda: service.ask(question(tmp_path, key="before"))).value["pid"]
    answer = until(lambda: service.ask(question(tmp_path, "die once")))
    assert answer.problem == ""
    assert answer.value["pid"] != first
    assert not alive(first)


def test_two_crashes_are_a_sentence_and_the_next_question_is_answered(
    fake: Callable[..., Aside], tmp_path: Path
) -> None:
    service = fake()
    answer = until(lambda: service.ask(question(tmp_path, "die")))
    assert "signal 9" in answer.problem
    assert "aside.log" in answer.problem
    assert until(lambda: service.ask(question(tmp_path, key="next"))).problem == ""


def test_a_problem_is_believed_for_a_minute_only(
    fake: Callable[..., Aside], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = fake()
    assert until(lambda: service.ask(question(tmp_path, "die"))).problem
    assert service.ask(question(tmp_path, "die")).ready
    monkeypatch.setattr("core.jobs.aside_service.BELIEVED", 0.0)
    assert service.ask(question(tmp_path, "echo")) == Answer(False)
    assert until(lambda: service.ask(question(tmp_path, "echo"))).problem == ""


def test_nonsense_and_a_child_that_cannot_start_are_sentences(fake: Callable[..., Aside], tmp_path: Path) -> None:
    broken = fake()
    assert "could not be asked" in until(lambda: broken.ask(question(tmp_path, "nonsense"))).problem
    lost = Aside((str(tmp_path / "no-such-program"),))
    assert "No such file" in until(lambda: lost.ask(question(tmp_path))).problem
    lost.close()


def test_a_child_that_hangs_is_ended(fake: Callable[..., Aside], tmp_path: Path) -> None:
    service = fake(patience=1.5)
    pid = until(lambda: service.ask(question(tmp_path, key="first"))).value["pid"]
    assert "longer than" in until(lambda: service.ask(question(tmp_path, key="slow", sleep=600))).problem
    assert wait_for(lambda: not alive(pid))


def test_a_child_that_dies_between_questions_is_no_zombie(
    fake: Callable[..., Aside], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.jobs.aside_service.REAP", 0.05)
    service = fake()
    pid = until(lambda: service.ask(question(tmp_path))).value["pid"]
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not alive(pid))
    assert until(lambda: service.ask(question(tmp_path, key="next"))).value["pid"] != pid


def test_an_idle_child_ends_and_comes_back(fake: Callable[..., Aside], tmp_path: Path) -> None:
    service = fake(idle=0.3)
    pid = until(lambda: service.ask(question(tmp_path))).value["pid"]
    assert wait_for(lambda: not alive(pid))
    assert wait_for(lambda: service._thread is None)
    assert service.ask(question(tmp_path)).value["pid"] == pid  # the answer stays
    assert until(lambda: service.ask(question(tmp_path, key="next"))).value["pid"] != pid


def test_close_ends_a_busy_child_and_closes_its_pipes(fake: Callable[..., Aside], tmp_path: Path) -> None:
    before = pipes()
    service = fake()
    pid = until(lambda: service.ask(question(tmp_path))).value["pid"]
    service.ask(question(tmp_path, key="slow", sleep=600))
    assert pipes() == before + 2
    service.close()  # what it was busy with takes ten minutes: the test's own limit would end it first
    assert not alive(pid)
    assert pipes() == before
    assert until(lambda: service.ask(question(tmp_path, key="after"))).problem == ""


def test_the_queue_is_bounded_and_drops_the_oldest(fake: Callable[..., Aside], tmp_path: Path) -> None:
    service = fake(waiting=2)
    service.ask(question(tmp_path, key="busy", sleep=1.0))
    assert wait_for(lambda: service._computing == "busy")
    for key in ("a", "b", "c"):
        assert service.ask(question(tmp_path, key=key)) == Answer(False)
        assert service.ask(question(tmp_path, key=key)) == Answer(False)  # asked twice, queued once
    assert [one.key for one in service._waiting] == ["b", "c"]
    assert until(lambda: service.ask(question(tmp_path, key="c"))).ready
    assert until(lambda: service.ask(question(tmp_path, key="a"))).ready  # its page asked again


def test_an_urgent_question_comes_first(fake: Callable[..., Aside], tmp_path: Path) -> None:
    service = fake(waiting=2)
    service.ask(question(tmp_path, key="busy", sleep=1.0))
    assert wait_for(lambda: service._computing == "busy")
    for key in ("a", "b"):
        service.ask(question(tmp_path, key=key))
    service.ask(replace(question(tmp_path, key="map"), urgent=True))
    assert [one.key for one in service._waiting] == ["map", "a"]


def test_answers_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Aside()
    for number in range(6):
        service._keep(str(number), Answer(True, "a map"), MOST_BYTES // 4)
    assert list(service._answers) == ["2", "3", "4", "5"]
    assert service._bytes == MOST_BYTES
    monkeypatch.setattr("core.jobs.aside_service.MOST_ANSWERS", 1)
    service._keep("last", Answer(True, {}), 10)
    assert list(service._answers) == ["last"]


def test_two_apps_have_a_child_each(fake: Callable[..., Aside], tmp_path: Path) -> None:
    one, other = fake(), fake()
    pids = [until(lambda s=service: s.ask(question(tmp_path))).value["pid"] for service in (one, other)]
    assert pids[0] != pids[1]
    one.close()
    assert until(lambda: other.ask(question(tmp_path, key="next"))).value["pid"] == pids[1]
