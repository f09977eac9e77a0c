"""Weights that are taken in, by the real child; and children that hang, crash or ask for too much (37, 38)."""

import logging
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from core.errors import UserError
from core.models import intake
from core.models.intake import Limits, take_in_weights
from tests.models.intake_cases import SCRIPT
from tests.models.intake_files import LENET, LENET_SHAPES, good_safetensors, good_state, lenet_arrays


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary files are made, so that whatever is left behind is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def upload(tmp_path: Path, data: bytes, name: str = "upload") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_bad_input_38_two_uploads_of_one_name_at_once(tmp_path: Path, temporary: Path) -> None:
    first, second = lenet_arrays(1), lenet_arrays(2)
    paths = [
        upload(tmp_path, good_state({f"module.{key}": value for key, value in first.items()}), "a"),
        upload(tmp_path, good_safetensors(second, {"note": SCRIPT}), "b"),
    ]
    names = [f"../{SCRIPT[:8]}.pt", f"../{SCRIPT[:8]}.safetensors"]
    with ThreadPoolExecutor(2) as pool:
        taken = list(pool.map(lambda pair: take_in_weights(*pair, LENET), zip(paths, names, strict=True)))
    assert not list(temporary.iterdir())
    for understood, arrays in zip(taken, (first, second), strict=True):
        found = load_safetensors(understood.safetensors)
        assert all(np.array_equal(found[key], arrays[key]) for key in arrays)
        assert found.keys() == arrays.keys()
        assert SCRIPT.encode() not in understood.safetensors
        assert {layer.name: layer.shape for layer in understood.layers} == LENET_SHAPES
        # 12·75 + 12 + 2·(12·300 + 12) + 10·768 + 10 weights and biases, no buffers
        assert (understood.parameters, understood.buffers, understood.classes) == (15_826, 0, 10)
        assert understood.spec.weights_sha256 == understood.sha256
        assert understood.forward.startswith("2 noise images of 3×32×32 gave 2×10 logits")
    assert taken[0].sha256 != taken[1].sha256
    assert [understood.name for understood in taken] == ["<script>.pt", "<script>.safetensors"]
    assert taken[0].spec.origin == "upload <script>.pt"
    assert taken[0].notes == ("The prefix 'module.' of DataParallel was removed from every name.",)
    assert taken[1].notes == ("The metadata written in the file were dropped.",)


CONFINED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from core.models.intake_child import confine
from core.models.intake_records import Limits
confine(Limits(address_bytes=2**29, cpu_seconds={cpu}), 0)
folder = Path(sys.argv[1])
"""
CHILDREN = {
    "hangs": ("import time; time.sleep(600)", "more than 1 seconds"),
    "leaves-a-child-that-hangs": ("import os, time; os.fork(); time.sleep(600)", "more than 1 seconds"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)"),
    "is-killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was killed, for memory"),
    "raises": ("raise KeyError('secret of the file')", "stopped (status 1)"),
    "needs-memory": (CONFINED + "bytearray(2**40)", "stopped (status 1)"),
    "needs-time": (CONFINED + "while True: pass", "1 seconds of processor time"),
    "writes-too-much": (CONFINED + "(folder / 'x').write_bytes(bytes(2**25))", "stopped (status 1)"),
    "says-nothing": ("", "gave no answer"),
    "says-nonsense": ("{answer}('[' * 9)", "gave no answer"),
    "says-too-much": ("{answer}('[' * 2**25)", "gave no answer"),
    "says-another-kind": ("{answer}('[1]')", "gave no answer"),
    "says-yes-without-weights": ("{answer}('{{\"examined\": {{}}}}')", "gave no answer"),
    "hands-back-junk": (
        '{answer}(\'{{"examined": {{"order": [], "parameters": [], "forward": "", "notes": []}}}}\')\n'
        "Path(sys.argv[1], 'weights.safetensors').write_bytes(bytes(64))",
        "contradicts itself",
    ),
    "refuses-at-length": ("{answer}('{{\"refused\": \"' + 'no ' * 9999 + '\"}}')", "no no no"),
}


@pytest.mark.parametrize("name", CHILDREN, ids=lambda name: f"bad-input-37-{name}")
def test_a_broken_child_gives_one_sentence_and_leaves_nothing(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    code, words = CHILDREN[name]
    answer = "import sys; from pathlib import Path; Path(sys.argv[1], 'answer.json').write_text"
    script = upload(
        tmp_path, code.format(root=str(Path(__file__).parents[2]), cpu=1, answer=answer).encode(), "child.py"
    )
    monkeypatch.setattr(intake, "CHILD", script)
    limits = Limits(seconds=1.0 if "hangs" in name else 60.0, cpu_seconds=1)
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(UserError) as caught:
        take_in_weights(upload(tmp_path, bytes(32)), "victim.pt", LENET, limits=limits)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 1000
    assert not list(temporary.iterdir())


def test_bad_input_37_memory_for_torch_itself_is_missing(tmp_path: Path, temporary: Path) -> None:
    path = upload(tmp_path, good_state(lenet_arrays()))
    with pytest.raises(UserError, match="needs more memory to examine than the 1 GiB allowed"):
        take_in_weights(path, "victim.pt", LENET, limits=Limits(address_bytes=2**30))
    assert not list(temporary.iterdir())


def test_the_child_sees_nothing_of_this_process(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "1234")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    report, held_open = tmp_path / "report", tmp_path / "held-open"
    code = f"""
import os, sys
links = [f'/proc/self/fd/{{n}}' for n in os.listdir('/proc/self/fd')]
inherited = [os.readlink(link) for link in links if os.path.exists(link) and os.path.samefile(link, {str(held_open)!r})]
open({str(report)!r}, 'w').write(repr((sorted(os.environ), sys.flags.isolated, os.getsid(0) == os.getpid(), inherited)))
"""
    monkeypatch.setattr(intake, "CHILD", upload(tmp_path, code.encode(), "child.py"))
    held = os.open(held_open, os.O_CREAT | os.O_RDWR)
    os.set_inheritable(held, True)
    try:
        with pytest.raises(UserError):
            take_in_weights(upload(tmp_path, bytes(32)), "victim.pt", LENET)
    finally:
        os.close(held)
    environment, isolated, own_session, inherited = eval(report.read_text())
    assert set(environment) <= {
        *("HOME", "TMPDIR", "LANG", "LC_CTYPE", "CUDA_VISIBLE_DEVICES"),
        *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    }
    assert isolated == 1
    assert own_session
    assert inherited == []


def test_a_file_that_is_too_large_or_gone_starts_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "CHILD", tmp_path / "does-not-exist.py")
    path = upload(tmp_path, bytes(2000))
    with pytest.raises(UserError, match="2,000 bytes, where at most 1,000"):
        take_in_weights(path, "victim.pt", LENET, limits=Limits(file_bytes=1000))
    with pytest.raises(UserError, match="no file that can be read"):
        take_in_weights(tmp_path / "gone", "victim.pt", LENET)
    with pytest.raises(UserError, match="no file that can be read"):
        take_in_weights(tmp_path, "victim.pt", LENET)
