"""Take published checkpoint files in: check, convert to safetensors, put in place whole or not at all."""

import hashlib
import os
import pickle
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from core.errors import UserError
from core.models.weights import WeightsRecord

DOWNLOAD_LIMIT = 700 << 20  # bytes; the largest (VGG16) has 528 MiB
CHUNK = 1 << 20
TIMEOUT = 30  # seconds without an answer


def convert(checkpoint: Path, target: Path, record: WeightsRecord) -> None:
    """Write the record's tensors out of a published checkpoint to `target` as float32 safetensors.

    Raises UserError when the file's sha256 does not begin with the record's, or its tensors are not the record's.
    """
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _expect(digest, record, "in torch's cache")
    import torch
    from safetensors.torch import save

    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{record.cache_file} cannot be read; remove it and download it again.") from error
    if not isinstance(state, dict) or any(
        not isinstance(state.get(key), torch.Tensor) or tuple(state[key].shape) != shape
        for key, shape in record.shapes.items()
    ):
        raise UserError(f"{record.cache_file} does not hold the layers that its name promises; download it again.")
    kept = {key: state[key].to(torch.float32).contiguous() for key in record.shapes}
    _put(target, save(kept, metadata={"origin": record.url}))


def download(target: Path, record: WeightsRecord, url: str | None = None) -> None:
    """Fetch the checkpoint from its publisher's address (or `url`), check its sha256, convert it to `target`.

    Raises UserError when it cannot be reached, is too large, or is not the file that was published.
    """
    url = url or record.url
    if not url.startswith(("https://", "http://", "file://")):
        raise UserError("weights are downloaded by https, http or file address only; correct the address.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        checkpoint = Path(folder) / record.cache_file
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, checkpoint.open("wb") as file:
                digest = _copy(answer, file)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise UserError(f"the download failed ({error}); check the connection or put the file there.") from error
        _expect(digest, record, "downloaded")
        convert(checkpoint, target, record)


def _copy(source: IO[bytes], file: IO[bytes]) -> str:
    digest, total = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
        total += len(chunk)
        if total > DOWNLOAD_LIMIT:
            raise UserError(f"the download is larger than {DOWNLOAD_LIMIT >> 20} MiB; check the address.")
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _expect(digest: str, record: WeightsRecord, where: str) -> None:
    if not digest.startswith(record.sha256_prefix):
        raise UserError(
            f"the {record.cache_file} {where} has the checksum {digest[:8]}…, not {record.sha256_prefix}…; "
            "it was not taken in, so get the file again."
        )


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
