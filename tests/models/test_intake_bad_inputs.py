"""BAD_INPUTS.md 1 to 23: one clear sentence from the real child; nothing is run or left behind."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.models.intake import NeedsConversion, take_in_weights
from core.models.intake_child import examine
from core.models.intake_records import Request
from core.models.spec import ModelSpec
from tests.models.intake_cases import CASES, SCRIPT, Case
from tests.models.intake_files import LENET, good_safetensors, good_state, lenet_arrays


def refusal(place: Path, data: bytes, filename: str, spec: ModelSpec = LENET) -> UserError:
    path, temporary = place / "upload", place / "temporary"
    path.write_bytes(data)
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # Working folder and temporary folder at once, so that whatever is left behind is seen.
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.chdir(temporary)
        with pytest.raises(UserError) as caught:
            take_in_weights(path, filename, spec)
    assert {found.name for found in place.iterdir()} == {"upload", "temporary"}
    assert not list(temporary.iterdir()), "something was left behind, or the file was run"
    return caught.value


def is_one_sentence(error: UserError) -> bool:
    text = error.sentence if isinstance(error, NeedsConversion) else str(error)
    return "\n" not in text and len(text) < 500 and text.endswith((".", ":")) and "Traceback" not in text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_file_is_refused_in_one_sentence(tmp_path: Path, case: Case) -> None:
    error = refusal(tmp_path, case.make(), case.filename)
    assert case.words in str(error)
    assert str(error).startswith("victim.")
    assert is_one_sentence(error)
    assert isinstance(error, NeedsConversion) is case.conversion
    assert str(error).count("\n    ") == (2 if case.conversion else 0)


def changed(key: str, value: np.ndarray | None) -> dict[str, np.ndarray]:
    arrays = lenet_arrays()
    arrays.pop(key, None)
    return arrays if value is None else {**arrays, key: value}


def head_with(value: float) -> dict[str, np.ndarray]:
    weight = lenet_arrays()["head.weight"]
    weight[3, 7] = value
    return changed("head.weight", weight)


# These need the architecture, so that the child starts torch: one goes through it, the rest run examine() here.
LATE = {
    "bad-input-13-nan": (good_safetensors(head_with(np.nan)), "victim.safetensors", "1 of 7,680 numbers"),
    "bad-input-13-inf": (good_state(head_with(-np.inf)), "victim.pt", "(infinite)"),
    "bad-input-13-float64-overflow": (
        good_safetensors(changed("head.bias", np.full(10, 1e300))),
        "victim.safetensors",
        "10 of 10 numbers that are not finite",
    ),
    "bad-input-14-missing": (
        good_safetensors(changed("head.bias", None)),
        "victim.safetensors",
        "'head.bias' is missing",
    ),
    "bad-input-14-extra": (
        good_state(changed("tail.bias", np.zeros(3, np.float32))),
        "victim.pt",
        "'tail.bias' is not expected",
    ),
    "bad-input-14-wrong-shape": (
        good_state(changed("body.2.bias", np.zeros(13, np.float32))),
        "victim.pt",
        "'body.2.bias' is 13 in the file and 12",
    ),
    "bad-input-14-wrong-classes": (
        good_state(changed("head.weight", np.zeros((7, 768), np.float32))),
        "victim.pt",
        "the file seems to know 7 classes",
    ),
    "bad-input-12-integers-for-floats": (
        good_state(changed("head.bias", np.zeros(10, np.int64))),
        "victim.pt",
        "in int64, where float32 is expected",
    ),
    "bad-input-15-script-among-keys": (
        good_safetensors(changed(SCRIPT, np.zeros(3, np.float32))),
        "victim.safetensors",
        f"'{SCRIPT}' is not expected",
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_bad_weights_are_refused_after_the_header(tmp_path: Path, name: str) -> None:
    data, filename, words = LATE[name]
    path = tmp_path / "upload"
    path.write_bytes(data)
    target = tmp_path / "out.safetensors"
    with path.open("rb") as file, pytest.raises(UserError) as caught:
        examine(file, len(data), Request(filename, LENET.to_json()), target)
    assert words in str(caught.value)
    assert is_one_sentence(caught.value)
    assert not target.exists()


def test_bad_input_13_nan_through_the_child(tmp_path: Path) -> None:
    data, filename, words = LATE["bad-input-13-nan"]
    assert words in str(refusal(tmp_path, data, filename))


def test_nothing_is_read_before_the_header_fits(tmp_path: Path) -> None:
    # The NaN of head.weight would be found by reading: the missing tensor must be told first.
    arrays = head_with(np.nan)
    del arrays["body.0.bias"]
    path = tmp_path / "upload"
    path.write_bytes(good_safetensors(arrays))
    with path.open("rb") as file, pytest.raises(UserError, match=r"'body\.0\.bias' is missing"):
        examine(file, path.stat().st_size, Request("victim.safetensors", LENET.to_json()), tmp_path / "out")


NAMES = {
    "../../etc/passwd.pt": "passwd.pt",
    "..\\..\\boot.pt": "boot.pt",
    "a\0b.pt": "ab.pt",
    "tp.\u202eslx.pt": "tp.slx.pt",
    "\u200f\u2066x\u2069.pt": "x.pt",
    "x" * 5000 + ".pt": "x" * 116 + "….pt",
    "<script>.pt": "<script>.pt",
    "..": "unnamed",
    "": "unnamed",
}


@pytest.mark.parametrize("filename", NAMES, ids=lambda name: f"bad-input-23-{name[:20]!a}")
def test_bad_input_23_file_names(tmp_path: Path, filename: str) -> None:
    error = refusal(tmp_path, b"", filename)
    assert str(error).startswith(NAMES[filename] + " is empty")


def test_hostile_spec_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    error = refusal(tmp_path, good_state(lenet_arrays()), "victim.pt", replace(LENET, num_classes=10**12))
    assert "classes" in str(error)
