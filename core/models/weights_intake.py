"""Take published files of weights in: check, convert to safetensors, put in place whole or not at all."""

import hashlib
import http.client
import os
import pickle
import re
import tempfile
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from core.errors import UserError
from core.models.intake_records import Limits
from core.models.intake_state import read_state_dict
from core.models.weights import MissingWeights, WeightsRecord, check_file
from core.storage.space import enough_space

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int | None], None]

DOWNLOAD_LIMIT = 700 << 20  # bytes; more only where the record says that the file has more
CHUNK = 1 << 20
TIMEOUT = 30  # seconds without an answer
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # torchvision's older names: norm.1.weight


def convert(published: Path, target: Path, record: WeightsRecord) -> None:
    """Write the record's tensors out of a published file to `target` as float32 safetensors.

    Raises UserError when the file's sha256 is not the record's, or its tensors are not.
    """
    with published.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _expect(digest, record, "in torch's cache")
    _take_in(published, target, record)


def download(target: Path, record: WeightsRecord, url: str | None = None, progress: Progress | None = None) -> None:
    """Fetch the file from its publisher's address (or `url`), check its sha256, convert it to `target`.

    Raises UserError when it cannot be reached, is too large, or is not the file that was published.
    """
    url = url or record.url
    if not url.startswith(("https://", "http://", "file://")):
        raise UserError("weights are downloaded by https, http or file address only; correct the address.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        published = Path(folder) / record.file
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, published.open("wb") as file:
                if (length := _length(answer)) is not None:
                    enough_space(target.parent, 2 * length, "The download, and what it is converted to,")
                limit = max(DOWNLOAD_LIMIT, record.mebibytes + 1 << 20)
                digest = _copy(answer, file, length, progress, limit)
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise UserError(f"the download failed ({error}); check the connection or put the file there.") from error
        _expect(digest, record, "downloaded")
        _take_in(published, target, record)


def _length(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length") or ""
    return int(text) if text.isdecimal() else None


def _copy(source: IO[bytes], file: IO[bytes], length: int | None, progress: Progress | None, limit: int) -> str:
    digest, total = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        total += len(chunk)
        if total > limit:
            raise UserError(f"the download is larger than {limit >> 20} MiB; check the address.")
        digest.update(chunk)
        file.write(chunk)
        if progress is not None:
            progress(total, length)
    if length is not None and total < length:
        raise UserError(f"the download broke off after {total:,} of {length:,} bytes; try again.")
    return digest.hexdigest()


def _expect(digest: str, record: WeightsRecord, where: str) -> None:
    if not digest.startswith(record.sha256):
        raise UserError(
            f"the {record.file} {where} has the checksum {digest[:8]}…, not {record.sha256[:8]}…; "
            "it was not taken in, so get the file again."
        )


def _take_in(published: Path, target: Path, record: WeightsRecord) -> None:
    if record.layout == "safetensors":
        if isinstance(fault := check_file(published, record), MissingWeights):
            raise UserError(fault.reason)
        _put(target, published.read_bytes())
        return
    import torch
    from safetensors.torch import save

    readers = {"clip": _clip_state, "strict": _strict_state, "state": _torch_state}
    state = readers[record.layout](published, record)
    if any(
        not isinstance(state.get(key), torch.Tensor) or tuple(state[key].shape) != shape
        for key, shape in record.shapes.items()
    ):
        raise UserError(f"{record.file} does not hold the layers that its name promises; get it again.")
    kept = {key: state[key].float().contiguous() for key in record.shapes}
    _put(target, save(kept, metadata={"origin": record.url}))


def _torch_state(published: Path, record: WeightsRecord) -> dict[str, Any]:
    import torch

    try:
        state = torch.load(published, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{record.file} cannot be read; remove it and get it again.") from error
    return state if isinstance(state, dict) else {}


def _strict_state(published: Path, record: WeightsRecord) -> dict[str, Any]:
    """A state dict in torch's zip format by the reader of uploads, which runs nothing; under torchvision's names.

    Files from before 2020 are in torch's older format, which that reader does not know: those go to torch's own, which
    makes tensors only (weights_only), and only a file with the published checksum comes here.
    """
    if not zipfile.is_zipfile(published):
        state = _torch_state(published, record)
    else:
        from core.models.intake_tensors import read_tensors

        limits = Limits(file_bytes=(record.mebibytes + 1) << 20)
        with published.open("rb") as file:
            state = dict(read_tensors(file, read_state_dict(file, published.stat().st_size, record.file, limits), ""))
    return {DENSENET.sub(r"\1\2", key): tensor for key, tensor in state.items()}


def _clip_state(published: Path, record: WeightsRecord) -> "dict[str, torch.Tensor]":
    """OpenAI's TorchScript archive under timm's names: https://github.com/openai/CLIP, clip/model.py.

    Only a file whose whole checksum is OpenAI's comes here. CLIP's projection has no bias, so timm's is zero.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is on its way out; OpenAI publishes nothing else
        try:
            archive = torch.jit.load(published, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise UserError(f"{record.file} cannot be read; remove it and get it again.") from error
    state = {key: archive[source] for key in record.shapes if (source := f"visual.{clip_name(key)}") in archive}
    for key, there in (("cls_token", "class_embedding"), ("pos_embed", "positional_embedding")):
        if f"visual.{there}" in archive:
            state[key] = archive[f"visual.{there}"].reshape(1, -1, archive[f"visual.{there}"].shape[-1])
    if "visual.proj" in archive:
        state["head.weight"] = archive["visual.proj"].T
        state["head.bias"] = torch.zeros(len(state["head.weight"]))
    return state


CLIP_NAMES = (  # timm's, and what OpenAI calls the same
    ("patch_embed.proj.", "conv1."),
    ("norm_pre.", "ln_pre."),
    ("blocks.", "transformer.resblocks."),
    (".attn.qkv.", ".attn.in_proj_"),
    (".attn.proj.", ".attn.out_proj."),
    (".norm1.", ".ln_1."),
    (".norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)


def clip_name(name: str) -> str:
    """What OpenAI's CLIP calls a layer that timm calls `name`, where both hold the same tensor."""
    if name.startswith("norm."):
        return name.replace("norm.", "ln_post.", 1)
    for ours, theirs in CLIP_NAMES:
        name = name.replace(ours, theirs)
    return name


def _put(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
