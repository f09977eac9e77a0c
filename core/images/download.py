"""Downloads of published data sets: resumed where they broke off, checked, and put in place whole or not at all.

What has come lies in FILE.part beside its place, with the address and the server's mark of the version (ETag or date)
in FILE.part.json. A broken download goes on by HTTP Range under If-Range, so that a file which changed meanwhile is
sent anew. No torch.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from core.errors import UserError
from core.images.published import DataFile, DataRecord, folder_of, how_to_place, missing_files, record_of
from core.settings import Settings

Progress = Callable[[int, int], None]  # (bytes so far, all bytes), over all files of the data set
Stop = Callable[[], bool]

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without an answer
ATTEMPTS = 4  # in a row that bring nothing
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one
SPARE = 64 * 2**20  # bytes that stay free on the disk
FULL = (errno.ENOSPC, errno.EDQUOT)
BROKEN = (urllib.error.URLError, ssl.SSLError, TimeoutError, ConnectionError, http.client.HTTPException)
BUSY = (408, 425, 429, 500, 502, 503, 504)  # worth another attempt


class Stopped(UserError):
    """The download was stopped by whoever asked for it; what has come is kept."""


def download_dataset(
    name: str,
    settings: Settings,
    *,
    progress: Progress | None = None,
    stop: Stop | None = None,
    pause: float = PAUSE,
) -> tuple[Path, ...]:
    """Fetch the files of a data set that are not there; return where they lie. Files that are there are left alone.

    The caller has shown the licence. Raises UserError where the data set can only be placed by hand, where the network
    or the host refuses (the sentence says how to place the files by hand), for a wrong checksum and a full disk, and
    Stopped when `stop` says so.
    """
    record = record_of(name)
    missing = missing_files(name, settings)
    if missing and (record.by_hand or not all(file.url for file in missing)):
        reason = record.by_hand or "its publisher gives no address"
        raise UserError(f"{record.title} cannot be downloaded: {reason}. {how_to_place(name, settings)}")
    folder = folder_of(record, settings)
    total, before = sum(file.bytes for file in missing), 0
    paths = []
    for file in missing:

        def so_far(done: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, max(total, before + done))

        try:
            paths.append(fetch_file(file, folder / file.name, progress=so_far, stop=stop, pause=pause))
        except Refused as error:
            raise UserError(f"{error} Or do it by hand: {how_to_place(name, settings)}") from error
        before += file.bytes
    return tuple(paths)


def verify(name: str, settings: Settings) -> tuple[str, ...]:
    """A sentence for each file of the data set that is there under its name without the published checksum."""
    record = record_of(name)
    return tuple(fault for file in record.files if (fault := _fault(record, file, settings)))


def _fault(record: DataRecord, file: DataFile, settings: Settings) -> str:
    path = folder_of(record, settings) / file.name
    if not path.is_file() or digest_of(path, file.checksum) == file.checksum:
        return ""
    return (
        f"{file.name} is not the published file (its checksum is another); if that is not meant so, remove it and "
        "get it again."
    )


class Refused(UserError):
    """The network or the host gave nothing."""


def fetch_file(
    file: DataFile,
    target: Path,
    *,
    progress: Callable[[int], None] | None = None,
    stop: Stop | None = None,
    pause: float = PAUSE,
) -> Path:
    """Fetch one file to `target`, going on where an earlier attempt ended.

    Raises Refused, Stopped, or UserError for a wrong checksum (what came is removed), a full disk, and another process
    that fetches the same file.
    """
    if not file.url.startswith(("https://", "http://")):
        raise UserError(f"{file.name} has no https or http address; place it by hand.")
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as handle:
            _lock(handle, file.name)
            _fetch(file, handle, part, _Hooks(progress or (lambda done: None), stop or (lambda: False), pause))
            handle.flush()
            os.fsync(handle.fileno())
            _check(file, part)
            part.replace(target)
            _mark_file(part).unlink(missing_ok=True)
    except (Refused, Stopped):
        if part.stat().st_size == 0:
            part.unlink()
            _mark_file(part).unlink(missing_ok=True)
        raise
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"There is no space left in {target.parent} for {file.name}; free some: the download goes on where "
                "it ended."
            ) from error
        raise UserError(f"{file.name} cannot be written to {target.parent} ({error.strerror or error}).") from error
    return target


@dataclass(frozen=True)
class _Hooks:
    progress: Callable[[int], None]
    stop: Stop
    pause: float


def _fetch(file: DataFile, handle: IO[bytes], part: Path, hooks: _Hooks) -> None:
    """Append to the handle until the file is whole; give up after ATTEMPTS in a row without a byte."""
    failures, reason = 0, ""
    while failures < ATTEMPTS:
        before = handle.seek(0, os.SEEK_END)
        try:
            if _attempt(file, handle, part, hooks):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code not in BUSY:
                raise Refused(
                    f"The host of {file.name} refuses it ({error.code} {error.reason}); try again."
                ) from error
            reason = f"the host says {error.code} {error.reason}"
        except BROKEN as error:
            reason = str(getattr(error, "reason", None) or error or type(error).__name__)
        failures = 0 if handle.seek(0, os.SEEK_END) > before else failures + 1
        if failures < ATTEMPTS:
            _wait(hooks, hooks.pause * 2 ** max(failures - 1, 0))
    raise Refused(f"{file.name} could not be downloaded ({reason[:120]}); check the connection and try again.")


def _attempt(file: DataFile, handle: IO[bytes], part: Path, hooks: _Hooks) -> bool:
    """One request; True when the file is whole."""
    have, mark = handle.seek(0, os.SEEK_END), _read_mark(part, file.url)
    headers = {"User-Agent": "SemSight", "Accept-Encoding": "identity"}
    if have and mark:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        handle.truncate(0)  # there is nothing behind what we have: it is whole, or another file; start anew
        _mark_file(part).unlink(missing_ok=True)
        return False
    with answer:
        if answer.status != 206 or _starts_at(answer) != have:
            if answer.status == 206:
                raise http.client.HTTPException("the host sends another piece than was asked for")
            handle.truncate(0)
            have = 0
            _write_mark(part, file.url, answer)
        return _copy(file, answer, handle, have, hooks)


def _copy(file: DataFile, answer: Any, handle: IO[bytes], have: int, hooks: _Hooks) -> bool:
    length = answer.headers.get("Content-Length") or ""
    total = have + int(length) if length.isdecimal() else None
    most = max(2 * file.bytes, total or 0) + SPARE
    _check_space(Path(handle.name).parent, (total or file.bytes) - have, file.name)
    if total is not None and file.bytes and total > 2 * file.bytes + SPARE:
        raise UserError(
            f"{file.name} has {total:,} bytes there, where about {file.bytes:,} are expected; get it by hand."
        )
    while chunk := answer.read1(CHUNK):
        handle.write(chunk)
        have += len(chunk)
        hooks.progress(have)
        if have > most:
            raise UserError(f"{file.name} does not end where it should; get it by hand.")
        if hooks.stop():
            handle.flush()
            raise Stopped(
                f"The download of {file.name} was stopped; it goes on where it ended when you start it again."
            )
    return total is None or have >= total


def _check_space(folder: Path, wanted: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted + SPARE:
        raise UserError(
            f"{name} needs {wanted / 2**20:,.0f} MiB in {folder}, where {free / 2**20:,.0f} MiB are free; free some "
            "space."
        )


def _check(file: DataFile, part: Path) -> None:
    found = digest_of(part, file.checksum)
    if found != file.checksum:
        part.unlink()
        _mark_file(part).unlink(missing_ok=True)
        raise UserError(
            f"The downloaded {file.name} has the checksum {found.partition(':')[2][:8]}…, not the published "
            f"{file.checksum.partition(':')[2][:8]}…; it was removed, so try again or get it by hand."
        )


def digest_of(path: Path, checksum: str) -> str:
    """The file's checksum in the form of the given one: `md5:…` or `sha256:…`."""
    kind = checksum.partition(":")[0]
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _wait(hooks: _Hooks, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not hooks.stop():
        time.sleep(min(0.1, seconds))
    if hooks.stop():
        raise Stopped("The download was stopped; it goes on where it ended when you start it again.")


def _lock(handle: IO[bytes], name: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"Another process downloads {name} just now; wait for it.") from None


def _starts_at(answer: Any) -> int | None:
    """The first byte of a partial answer: `Content-Range: bytes 100-199/200`."""
    start = (answer.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdecimal() else None


def _mark_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_mark(part: Path, url: str) -> str:
    """The server's mark of the version that was begun; "" where there is none to go on with."""
    try:
        values = json.loads(_mark_file(part).read_text())
        return str(values["mark"]) if values["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _write_mark(part: Path, url: str, answer: Any) -> None:
    etag = answer.headers.get("ETag") or ""
    mark = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified") or ""
    _mark_file(part).write_text(json.dumps({"url": url, "mark": mark}))
