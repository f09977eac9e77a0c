"""BAD_INPUTS.md 1 to 23: one clear sentence from the real child; nothing is run or left behind."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.models.intake import NeedsConversion, take_in_weights
from core.models.intake_child import examine
from core.models.intake_records import Request
from core.models.spec import ModelSpec
from tests.models import intake_cases as c
from tests.models import intake_files as f
from tests.models.intake_cases import SCRIPT, Case
from tests.models.intake_files import LENET, good_safetensors, good_state, lenet_arrays

CASES = [
    Case("bad-input-01-empty", "victim.pt", lambda: b"", "is empty"),
    Case("bad-input-01-seven-bytes", "victim.safetensors", lambda: b"1234567", "has only 7 bytes"),
    Case("bad-input-02-random-bytes", "victim.pt", c.random_bytes, "neither safetensors nor"),
    Case("bad-input-02-random-bytes-safetensors", "victim.safetensors", c.random_bytes, "neither safetensors nor"),
    Case("bad-input-03-truncated-zip", "victim.pt", partial(c.cut, c.good_zip, 0.5), "cut short"),
    Case("bad-input-03-truncated-zip-end", "victim.pth", lambda: c.good_zip()[:-1], "cut short"),
    Case("bad-input-03-truncated-safetensors", "victim.safetensors", partial(c.cut, c.good_st, 0.5), "cut short"),
    Case("bad-input-04-bare-pickle", "victim.pt", c.command_pickle, "bare pickle", True),
    Case("bad-input-04-forbidden-global", "victim.pt", c.command_zip, "import 'posix.system'", True),
    Case(
        "bad-input-04-forbidden-global-among-tensors",
        "victim.pt",
        c.command_among_tensors,
        "import 'builtins.exec'",
        True,
    ),
    Case("bad-input-04-forbidden-instruction", "victim.pt", c.obj_opcode, "instruction OBJ", True),
    Case("bad-input-05-pickle-renamed", "victim.safetensors", c.command_pickle, "bare pickle", True),
    Case(
        "bad-input-05-zip-renamed", "victim.safetensors", c.command_zip, "holds a zip file, which its name does not say"
    ),
    Case("bad-input-05-safetensors-renamed", "victim.pt", c.good_st, "holds safetensors, which its name does not say"),
    Case("bad-input-06-whole-module", "victim.pt", partial(c.by_torch, "module"), "import 'torch.nn.modules", True),
    Case("bad-input-07-torchscript", "victim.pt", partial(c.by_torch, "torchscript"), "TorchScript", True),
    Case("bad-input-08-legacy-tar", "victim.pt", c.legacy_tar, "tar file", True),
    Case("bad-input-08-legacy-pickle", "victim.pt", partial(c.by_torch, "legacy"), "legacy format", True),
    Case("bad-input-09-exported-program", "victim.pt2", partial(c.by_torch, "exported"), "exported program", True),
    Case(
        "bad-input-09-exported-program-renamed", "victim.pt", partial(c.by_torch, "exported"), "exported program", True
    ),
    Case("bad-input-09-state-dict-called-pt2", "victim.pt2", c.good_zip, "no exported program"),
    Case("bad-input-09-onnx", "victim.onnx", c.onnx, "ONNX", True),
    Case("bad-input-10-deflate-bomb", "victim.pt", c.deflate_bomb, "compressed"),
    Case("bad-input-10-hidden-deflate-bomb", "victim.pt", c.hidden_bomb, "described in two ways"),
    Case("bad-input-11-stride-0-giant", "victim.pt", partial(c.by_torch, "stride-0"), "as a view (strides (0,))"),
    Case("bad-input-11-stride-0-small", "victim.pt", lambda: f.one_tensor((4,), (0,)), "as a view"),
    Case("bad-input-11-overlapping-strides", "victim.pt", lambda: f.one_tensor((3, 2), (1, 1)), "as a view"),
    Case("bad-input-12-meta", "victim.pt", partial(c.by_torch, "meta"), "meta tensor"),
    Case("bad-input-12-meta-location", "victim.pt", c.meta_location, "meta tensor"),
    Case("bad-input-12-sparse", "victim.pt", partial(c.by_torch, "sparse"), "sparse tensor"),
    Case("bad-input-12-sparse-csr", "victim.pt", partial(c.by_torch, "sparse-csr"), "sparse tensor"),
    Case("bad-input-12-quantised", "victim.pt", partial(c.by_torch, "quantised"), "quantised tensor"),
    Case("bad-input-12-float8", "victim.pt", partial(c.by_torch, "float8"), "rare number format"),
    Case(
        "bad-input-12-complex",
        "victim.pt",
        lambda: f.one_tensor((4,), (1,), storage="ComplexFloatStorage"),
        "complex64",
    ),
    Case("bad-input-12-complex-safetensors", "victim.safetensors", lambda: c.st([2], 0, 16, dtype="C64"), "complex64"),
    Case("bad-input-12-integer", "victim.pt", lambda: f.one_tensor((4,), (1,), storage="ByteStorage"), "in uint8"),
    Case("bad-input-12-integer-safetensors", "victim.safetensors", lambda: c.st([4], 0, 16, dtype="I32"), "in int32"),
    Case("bad-input-14-number-as-key", "victim.pt", lambda: c.keyed(f.number(0)), "no text (int)"),
    Case("bad-input-14-tuple-as-key", "victim.pt", lambda: c.keyed(f.tuple_(f.text("a"))), "no text (tuple)"),
    Case(
        "bad-input-14-no-tensor",
        "victim.pt",
        lambda: f.state(f.table((f.text("w"), f.number(3))), {}),
        "no tensors by name",
    ),
    Case(
        "bad-input-14-empty-table",
        "victim.pt",
        lambda: f.state(f.table((f.text("model"), b"}")), {}),
        "empty state dict",
    ),
    Case("bad-input-14-a-list", "victim.pt", lambda: f.state(b"]", {}), "no state dict"),
    Case("bad-input-15-script-in-key", "victim.safetensors", lambda: c.script_key(), f"'{SCRIPT}'"),
    Case("bad-input-16-record-twice", "victim.pt", c.twice_in_zip, "comes twice"),
    Case("bad-input-16-json-key-twice", "victim.safetensors", lambda: c.json_twice(), "lists 'w' twice"),
    Case("bad-input-16-pickle-key-twice", "victim.pt", c.same_key_twice, "lists 'w' twice"),
    Case(
        "bad-input-17-header-2^63",
        "victim.safetensors",
        lambda: f.safetensors({}, bytes(16), length=2**63),
        "9,223,372,036,854,775,808",
    ),
    Case(
        "bad-input-17-header-past-end",
        "victim.safetensors",
        lambda: f.safetensors({"a": 1}, length=99),
        "99 bytes, but only",
    ),
    Case(
        "bad-input-17-header-no-json", "victim.safetensors", lambda: f.safetensors(b'{"w": nonsense}'), "not valid JSON"
    ),
    Case(
        "bad-input-17-header-deep",
        "victim.safetensors",
        lambda: f.safetensors(b'{"w":' + b"[" * 200_000),
        "not valid JSON",
    ),
    Case("bad-input-18-overlap", "victim.safetensors", lambda: c.two((0, 8), (4, 12), 12), "overlap"),
    Case("bad-input-18-hole", "victim.safetensors", lambda: c.two((0, 8), (12, 20), 20), "leave a hole"),
    Case(
        "bad-input-18-trailing-bytes",
        "victim.safetensors",
        lambda: c.two((0, 8), (8, 16), 24),
        "8 bytes behind its last tensor",
    ),
    Case("bad-input-18-storage-too-small", "victim.pt", lambda: f.one_tensor((8,), (1,)), "too few numbers"),
    Case(
        "bad-input-18-storage-missing", "victim.pt", lambda: f.state(c.one("7"), {"0": bytes(16)}), "lacks the numbers"
    ),
    Case(
        "bad-input-18-offset-past-end", "victim.pt", lambda: f.one_tensor((4,), (1,), offset=2**40), "too few numbers"
    ),
    Case("bad-input-19-overflow", "victim.safetensors", lambda: c.st([2**31, 2**31, 4], 0, 16), "its shape needs"),
    Case("bad-input-19-negative", "victim.safetensors", lambda: c.st([-4], 0, 16), "a shape that no layer has"),
    Case(
        "bad-input-19-zero-times-2^62",
        "victim.safetensors",
        lambda: c.st([0, 2**62], 0, 0, 0),
        "a shape that no layer has",
    ),
    Case("bad-input-19-rank-200", "victim.safetensors", lambda: c.st([1] * 200, 0, 4, 4), "a shape that no layer has"),
    Case(
        "bad-input-19-true-as-side", "victim.safetensors", lambda: c.st([True, 4], 0, 16), "a shape that no layer has"
    ),
    Case("bad-input-19-negative-offset", "victim.safetensors", lambda: c.st([4], -16, 0), "does not say where"),
    Case(
        "bad-input-19-overflow-zip", "victim.pt", lambda: f.one_tensor((2**62, 4), (4, 1)), "a shape that no layer has"
    ),
    Case("bad-input-19-negative-zip", "victim.pt", lambda: f.one_tensor((-4,), (1,)), "damaged pickle"),
    Case("bad-input-19-zero-zip", "victim.pt", lambda: f.one_tensor((0, 2**62), (1, 1)), "no layer has"),
    Case("bad-input-19-rank-200-zip", "victim.pt", lambda: f.one_tensor((1,) * 200, (1,) * 200), "200 dimensions"),
    Case("bad-input-20-million-empty-tensors", "victim.safetensors", c.million_tensors, "a header of"),
    Case("bad-input-20-many-empty-tensors", "victim.safetensors", c.many_empty, "lists 50,000 tensors"),
    Case("bad-input-20-many-records", "victim.pt", c.many_records, "lists 12,000 records"),
    Case("bad-input-21-gif-prefix", "victim.pt", lambda: b"GIF89a" + bytes(10) + c.good_zip(), "a GIF picture"),
    Case(
        "bad-input-21-gif-prefix-safetensors",
        "victim.safetensors",
        lambda: b"GIF89a\0\0{" + c.good_st(),
        "a GIF picture",
    ),
    Case("bad-input-21-junk-suffix", "victim.pt", lambda: c.good_zip() + b"junk", "something follows its end"),
    Case("bad-input-21-junk-suffix-safetensors", "victim.safetensors", lambda: c.good_st() + b"junk", "4 bytes behind"),
    Case("bad-input-22-outside-entry", "victim.pt", c.outside_entry, "could lead outside"),
    Case("bad-input-22-bad-crc", "victim.pt", c.bad_crc, "does not have the checksum"),
    Case("bad-input-22-7z", "victim.pt", lambda: b"7z\xbc\xaf\x27\x1c" + bytes(64), "a 7z archive"),
    Case(
        "bad-input-22-nested-zip", "victim.pt", lambda: c.with_entry("inner.zip", c.good_zip()), "'archive/inner.zip'"
    ),
    Case("bad-input-22-zip-as-pickle", "victim.pt", lambda: f.archive({"data.pkl": c.good_zip()}), "pickle"),
    Case(
        "bad-input-22-not-by-torch",
        "victim.pt",
        lambda: f.archive({"readme.txt": b"hello"}),
        "not one that torch.save wrote",
    ),
    Case(
        "bad-input-04-forbidden-stack-global",
        "victim.pt",
        lambda: f.archive({"data.pkl": c.protocol_4(), "version": b"3\n"}),
        "import 'pathlib",
        True,
    ),
]


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
