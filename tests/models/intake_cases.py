"""BAD_INPUTS.md 1 to 22, each as bytes: number, what it is, file name, and words that the refusal must contain."""

import io
import pickle as stdlib_pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.models import intake_files as f

ORDER = "collections", "OrderedDict"
MARKER = "semsight-intake-was-here"  # what the hostile files would create, were they run


@dataclass(frozen=True)
class Case:
    """One hostile file. conversion: the refusal shows the two lines that convert a model."""

    number: int
    what: str
    filename: str
    make: Callable[[], bytes]
    words: str
    conversion: bool = False

    @property
    def id(self) -> str:
        return f"bad-input-{self.number:02d}-{self.what}"


@cache
def good_zip() -> bytes:
    return f.good_state(f.lenet_arrays())


@cache
def good_st() -> bytes:
    return f.good_safetensors(f.lenet_arrays())


def random_bytes() -> bytes:
    return np.random.default_rng(2).bytes(4096)


def command_pickle() -> bytes:
    """A pickle that makes a file when it is unpickled."""
    return f.pickle(f.symbol("posix", "system") + f.tuple_(f.text(f"touch {MARKER}")) + b"R")


def command_zip() -> bytes:
    return f.archive({"data.pkl": command_pickle(), "version": b"3\n"})


def command_among_tensors() -> bytes:
    evil = f.symbol("builtins", "exec") + f.tuple_(f.text(f"open('{MARKER}', 'w')")) + b"R"
    good = f.tensor("0", 4, (2, 2), (2, 1))
    return f.state(f.table((f.text("w"), good), (f.text("extra"), evil)), {"0": bytes(16)})


def obj_opcode() -> bytes:
    return f.archive({"data.pkl": f.pickle(b"(" + f.text("x") + b"o"), "version": b"3\n"})


def by_torch(kind: str) -> bytes:
    """Files that torch itself writes: the real formats, not imitations."""
    import torch

    buffer, model = io.BytesIO(), torch.nn.Sequential(torch.nn.Linear(3, 2))
    ones: Any = torch.ones(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript and of quantised tensors
        if kind == "module":
            torch.save(model, buffer)
        elif kind == "torchscript":
            torch.jit.save(torch.jit.script(model), buffer)
        elif kind == "legacy":
            torch.save(model.state_dict(), buffer, _use_new_zipfile_serialization=False)
        elif kind == "exported":
            torch.export.save(torch.export.export(model, (torch.zeros(1, 3),)), buffer)
        elif kind == "stride-0":
            torch.save({"w": torch.ones(1).as_strided((2**40,), (0,))}, buffer)
        elif kind == "meta":
            torch.save({"w": torch.ones(3, device="meta")}, buffer)
        elif kind == "sparse":
            torch.save({"w": ones.diag().to_sparse()}, buffer)
        elif kind == "sparse-csr":
            torch.save({"w": ones.diag().to_sparse_csr()}, buffer)
        elif kind == "quantised":
            torch.save({"w": torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8)}, buffer)
        elif kind == "float8":
            torch.save({"w": ones.to(torch.float8_e4m3fn)}, buffer)
        else:
            raise KeyError(kind)
    return buffer.getvalue()


def legacy_tar() -> bytes:
    """The layout of torch before 0.1.10: a tar of sys_info, pickle, storages and tensors."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            member = tarfile.TarInfo(name)
            member.size = len(command_pickle())
            tar.addfile(member, io.BytesIO(command_pickle()))
    return buffer.getvalue()


def onnx() -> bytes:
    """The first fields of a ModelProto: ir_version 8, producer_name "pytorch"."""
    return b"\x08\x08\x12\x07pytorch\x1a\x052.1.0" + bytes(64)


def deflate_bomb() -> bytes:
    """64 MiB of zeros in 65 kB; how large does not matter, as nothing compressed is read."""
    records = f.state_records(f.table((f.text("w"), f.tensor("0", 2**24, (2**24,), (1,)))), {"0": bytes(2**26)})
    return f.archive(records, method=zipfile.ZIP_DEFLATED)


def hidden_bomb() -> bytes:
    """The directory says stored, the record itself says deflated."""
    data = bytearray(good_zip())
    data[8:10] = (8).to_bytes(2, "little")
    return bytes(data)


def twice_in_zip() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of what is meant here
        buffer = io.BytesIO(good_zip())
        with zipfile.ZipFile(buffer, "a") as file:
            file.writestr("archive/data/0", bytes(4))
    return buffer.getvalue()


def same_key_twice() -> bytes:
    one = f.tensor("0", 4, (4,), (1,))
    return f.state(f.table((f.text("w"), one), (f.text("w"), one)), {"0": bytes(16)})


def million_tensors() -> bytes:
    entries = ",".join(f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(1_000_000))
    return f.safetensors(("{" + entries + "}").encode())


def many_empty() -> bytes:
    """As many empty tensors as fit under the limit on the header."""
    return f.safetensors({str(i): f.entry([0], 0, 0) for i in range(50_000)})


def many_records() -> bytes:
    return f.archive({f"data/{i}": b"" for i in range(12_000)})


def with_entry(name: str, data: bytes = b"x") -> bytes:
    records = f.state_records(f.table((f.text("w"), f.tensor("0", 4, (4,), (1,)))), {"0": bytes(16)})
    return f.archive({**records, name: data})


def outside_entry() -> bytes:
    buffer = io.BytesIO(good_zip())
    with zipfile.ZipFile(buffer, "a") as file:
        file.writestr("archive/../../escaped", b"x")
    return buffer.getvalue()


def bad_crc() -> bytes:
    """One bit of the head's bias flipped."""
    raw = f.lenet_arrays()["head.bias"].tobytes()
    return good_zip().replace(raw, bytes([raw[0] ^ 1]) + raw[1:])


def meta_location() -> bytes:
    return f.one_tensor((4,), (1,), location="meta")


def cut(make: Callable[[], bytes], share: float) -> bytes:
    data = make()
    return data[: int(len(data) * share)]


def st(shape: list[Any], start: Any, end: Any, body: int = 16, dtype: str = "F32") -> bytes:
    return f.safetensors({"w": {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}}, bytes(body))


def two(first: tuple[int, int], second: tuple[int, int], body: int) -> bytes:
    entries = {k: f.entry([(e - s) // 4], s, e) for k, (s, e) in {"a": first, "b": second}.items()}
    return f.safetensors(entries, bytes(body))


SCRIPT = "<script>alert(1)</script>"
CASES = [
    Case(1, "empty", "victim.pt", lambda: b"", "is empty"),
    Case(1, "seven-bytes", "victim.safetensors", lambda: b"1234567", "has only 7 bytes"),
    Case(2, "random-bytes", "victim.pt", random_bytes, "neither safetensors nor"),
    Case(2, "random-bytes-safetensors", "victim.safetensors", random_bytes, "neither safetensors nor"),
    Case(3, "truncated-zip", "victim.pt", partial(cut, good_zip, 0.5), "cut short"),
    Case(3, "truncated-zip-end", "victim.pth", lambda: good_zip()[:-1], "cut short"),
    Case(3, "truncated-safetensors", "victim.safetensors", partial(cut, good_st, 0.5), "cut short"),
    Case(4, "bare-pickle", "victim.pt", command_pickle, "bare pickle", True),
    Case(4, "forbidden-global", "victim.pt", command_zip, "import 'posix.system'", True),
    Case(4, "forbidden-global-among-tensors", "victim.pt", command_among_tensors, "import 'builtins.exec'", True),
    Case(4, "forbidden-instruction", "victim.pt", obj_opcode, "instruction OBJ", True),
    Case(5, "pickle-renamed", "victim.safetensors", command_pickle, "bare pickle", True),
    Case(5, "zip-renamed", "victim.safetensors", command_zip, "holds a zip file, which its name does not say"),
    Case(5, "safetensors-renamed", "victim.pt", good_st, "holds safetensors, which its name does not say"),
    Case(6, "whole-module", "victim.pt", partial(by_torch, "module"), "import 'torch.nn.modules", True),
    Case(7, "torchscript", "victim.pt", partial(by_torch, "torchscript"), "TorchScript", True),
    Case(8, "legacy-tar", "victim.pt", legacy_tar, "tar file", True),
    Case(8, "legacy-pickle", "victim.pt", partial(by_torch, "legacy"), "legacy format", True),
    Case(9, "exported-program", "victim.pt2", partial(by_torch, "exported"), "exported program", True),
    Case(9, "exported-program-renamed", "victim.pt", partial(by_torch, "exported"), "exported program", True),
    Case(9, "state-dict-called-pt2", "victim.pt2", good_zip, "no exported program"),
    Case(9, "onnx", "victim.onnx", onnx, "ONNX", True),
    Case(10, "deflate-bomb", "victim.pt", deflate_bomb, "compressed"),
    Case(10, "hidden-deflate-bomb", "victim.pt", hidden_bomb, "described in two ways"),
    Case(11, "stride-0-giant", "victim.pt", partial(by_torch, "stride-0"), "as a view (strides (0,))"),
    Case(11, "stride-0-small", "victim.pt", lambda: f.one_tensor((4,), (0,)), "as a view"),
    Case(11, "overlapping-strides", "victim.pt", lambda: f.one_tensor((3, 2), (1, 1)), "as a view"),
    Case(12, "meta", "victim.pt", partial(by_torch, "meta"), "meta tensor"),
    Case(12, "meta-location", "victim.pt", meta_location, "meta tensor"),
    Case(12, "sparse", "victim.pt", partial(by_torch, "sparse"), "sparse tensor"),
    Case(12, "sparse-csr", "victim.pt", partial(by_torch, "sparse-csr"), "sparse tensor"),
    Case(12, "quantised", "victim.pt", partial(by_torch, "quantised"), "quantised tensor"),
    Case(12, "float8", "victim.pt", partial(by_torch, "float8"), "rare number format"),
    Case(12, "complex", "victim.pt", lambda: f.one_tensor((4,), (1,), storage="ComplexFloatStorage"), "complex64"),
    Case(12, "complex-safetensors", "victim.safetensors", lambda: st([2], 0, 16, dtype="C64"), "complex64"),
    Case(12, "integer", "victim.pt", lambda: f.one_tensor((4,), (1,), storage="ByteStorage"), "in uint8"),
    Case(12, "integer-safetensors", "victim.safetensors", lambda: st([4], 0, 16, dtype="I32"), "in int32"),
    Case(14, "number-as-key", "victim.pt", lambda: _keyed(f.number(0)), "no text (int)"),
    Case(14, "tuple-as-key", "victim.pt", lambda: _keyed(f.tuple_(f.text("a"))), "no text (tuple)"),
    Case(14, "no-tensor", "victim.pt", lambda: f.state(f.table((f.text("w"), f.number(3))), {}), "no tensors by name"),
    Case(14, "empty-table", "victim.pt", lambda: f.state(f.table((f.text("model"), b"}")), {}), "empty state dict"),
    Case(14, "a-list", "victim.pt", lambda: f.state(b"]", {}), "no state dict"),
    Case(15, "script-in-key", "victim.safetensors", lambda: _script_key(), f"'{SCRIPT}'"),
    Case(16, "record-twice", "victim.pt", twice_in_zip, "comes twice"),
    Case(16, "json-key-twice", "victim.safetensors", lambda: _json_twice(), "lists 'w' twice"),
    Case(16, "pickle-key-twice", "victim.pt", same_key_twice, "lists 'w' twice"),
    Case(
        17,
        "header-2^63",
        "victim.safetensors",
        lambda: f.safetensors({}, bytes(16), length=2**63),
        "9,223,372,036,854,775,808",
    ),
    Case(17, "header-past-end", "victim.safetensors", lambda: f.safetensors({"a": 1}, length=99), "99 bytes, but only"),
    Case(17, "header-no-json", "victim.safetensors", lambda: f.safetensors(b'{"w": nonsense}'), "not valid JSON"),
    Case(17, "header-deep", "victim.safetensors", lambda: f.safetensors(b'{"w":' + b"[" * 200_000), "not valid JSON"),
    Case(18, "overlap", "victim.safetensors", lambda: two((0, 8), (4, 12), 12), "overlap"),
    Case(18, "hole", "victim.safetensors", lambda: two((0, 8), (12, 20), 20), "leave a hole"),
    Case(
        18, "trailing-bytes", "victim.safetensors", lambda: two((0, 8), (8, 16), 24), "8 bytes behind its last tensor"
    ),
    Case(18, "storage-too-small", "victim.pt", lambda: f.one_tensor((8,), (1,)), "too few numbers"),
    Case(18, "storage-missing", "victim.pt", lambda: f.state(_one("7"), {"0": bytes(16)}), "lacks the numbers"),
    Case(18, "offset-past-end", "victim.pt", lambda: f.one_tensor((4,), (1,), offset=2**40), "too few numbers"),
    Case(19, "overflow", "victim.safetensors", lambda: st([2**31, 2**31, 4], 0, 16), "its shape needs"),
    Case(19, "negative", "victim.safetensors", lambda: st([-4], 0, 16), "a shape that no layer has"),
    Case(19, "zero-times-2^62", "victim.safetensors", lambda: st([0, 2**62], 0, 0, 0), "a shape that no layer has"),
    Case(19, "rank-200", "victim.safetensors", lambda: st([1] * 200, 0, 4, 4), "a shape that no layer has"),
    Case(19, "true-as-side", "victim.safetensors", lambda: st([True, 4], 0, 16), "a shape that no layer has"),
    Case(19, "negative-offset", "victim.safetensors", lambda: st([4], -16, 0), "does not say where"),
    Case(19, "overflow-zip", "victim.pt", lambda: f.one_tensor((2**62, 4), (4, 1)), "a shape that no layer has"),
    Case(19, "negative-zip", "victim.pt", lambda: f.one_tensor((-4,), (1,)), "damaged pickle"),
    Case(19, "zero-zip", "victim.pt", lambda: f.one_tensor((0, 2**62), (1, 1)), "no layer has"),
    Case(19, "rank-200-zip", "victim.pt", lambda: f.one_tensor((1,) * 200, (1,) * 200), "200 dimensions"),
    Case(20, "million-empty-tensors", "victim.safetensors", million_tensors, "a header of"),
    Case(20, "many-empty-tensors", "victim.safetensors", many_empty, "lists 50,000 tensors"),
    Case(20, "many-records", "victim.pt", many_records, "lists 12,000 records"),
    Case(21, "gif-prefix", "victim.pt", lambda: b"GIF89a" + bytes(10) + good_zip(), "a GIF picture"),
    Case(21, "gif-prefix-safetensors", "victim.safetensors", lambda: b"GIF89a\0\0{" + good_st(), "a GIF picture"),
    Case(21, "junk-suffix", "victim.pt", lambda: good_zip() + b"junk", "something follows its end"),
    Case(21, "junk-suffix-safetensors", "victim.safetensors", lambda: good_st() + b"junk", "4 bytes behind"),
    Case(22, "outside-entry", "victim.pt", outside_entry, "could lead outside"),
    Case(22, "bad-crc", "victim.pt", bad_crc, "does not have the checksum"),
    Case(22, "7z", "victim.pt", lambda: b"7z\xbc\xaf\x27\x1c" + bytes(64), "a 7z archive"),
    Case(22, "nested-zip", "victim.pt", lambda: with_entry("inner.zip", good_zip()), "'archive/inner.zip'"),
    Case(22, "zip-as-pickle", "victim.pt", lambda: f.archive({"data.pkl": good_zip()}), "pickle"),
    Case(22, "not-by-torch", "victim.pt", lambda: f.archive({"readme.txt": b"hello"}), "not one that torch.save wrote"),
]


def _one(key: str) -> bytes:
    return f.table((f.text("w"), f.tensor(key, 4, (4,), (1,))))


def _keyed(key: bytes) -> bytes:
    return f.state(f.table((key, f.tensor("0", 4, (4,), (1,)))), {"0": bytes(16)})


def _script_key() -> bytes:
    return f.safetensors({SCRIPT: f.entry([4], 0, 16, "U8")}, bytes(16))


def _json_twice() -> bytes:
    one = b'"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    return f.safetensors(b"{" + one + b"," + one + b"}", bytes(16))


def protocol_4() -> bytes:
    """The forbidden global as STACK_GLOBAL, which newer protocols use."""
    return stdlib_pickle.dumps(Path("x"), protocol=4)


CASES.append(
    Case(
        4,
        "forbidden-stack-global",
        "victim.pt",
        lambda: f.archive({"data.pkl": protocol_4(), "version": b"3\n"}),
        "import 'pathlib",
        True,
    )
)
