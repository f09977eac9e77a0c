"""The makers of BAD_INPUTS.md 1 to 22: each gives the bytes of one hostile file."""

import io
import pickle as stdlib_pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.models import intake_files as f

ORDER = "collections", "OrderedDict"
MARKER = "semsight-intake-was-here"  # what the hostile files would create, were they run


@dataclass(frozen=True)
class Case:
    """One hostile file. conversion: the refusal shows the two lines that convert a model."""

    id: str  # bad-input-NN-what
    filename: str
    make: Callable[[], bytes]
    words: str
    conversion: bool = False


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


def one(key: str) -> bytes:
    return f.table((f.text("w"), f.tensor(key, 4, (4,), (1,))))


def keyed(key: bytes) -> bytes:
    return f.state(f.table((key, f.tensor("0", 4, (4,), (1,)))), {"0": bytes(16)})


def script_key() -> bytes:
    return f.safetensors({SCRIPT: f.entry([4], 0, 16, "U8")}, bytes(16))


def json_twice() -> bytes:
    one = b'"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    return f.safetensors(b"{" + one + b"," + one + b"}", bytes(16))


def protocol_4() -> bytes:
    """The forbidden global as STACK_GLOBAL, which newer protocols use."""
    return stdlib_pickle.dumps(Path("x"), protocol=4)
