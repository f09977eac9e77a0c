"""Downloads against a server of this machine: whole, resumed, changed, refused, wrong, full."""

import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.errors import UserError
from core.images import download
from core.images.download import Refused, Stopped, download_dataset, fetch_file, verify
from core.images.published import DATASETS, DataFile
from core.settings import Settings
from tests.images.file_server import Host, serving

CONTENT = os.urandom(3 << 20)


@pytest.fixture
def host() -> Iterator[Host]:
    with serving(CONTENT) as one:
        yield one


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "CHUNK", 1 << 16)


def file_of(host: Host, content: bytes = CONTENT) -> DataFile:
    return DataFile("file.bin", host.url, f"md5:{hashlib.md5(content).hexdigest()}", len(content))


def test_a_file_arrives_whole_with_progress_and_nothing_beside_it(host: Host, tmp_path: Path) -> None:
    steps: list[int] = []
    path = fetch_file(file_of(host), tmp_path / "set" / "file.bin", progress=steps.append, pause=0)
    assert path.read_bytes() == CONTENT
    assert steps == sorted(steps)
    assert steps[-1] == len(CONTENT)
    assert [one.name for one in path.parent.iterdir()] == ["file.bin"]


def test_a_connection_that_drops_is_taken_up_where_it_ended(host: Host, tmp_path: Path) -> None:
    host.drop_after = 1_000_000
    path = fetch_file(file_of(host), tmp_path / "file.bin", pause=0)
    assert path.read_bytes() == CONTENT
    assert host.requests[0] == (None, None)
    assert [one for _, one in host.requests[1:]] == ['"v1"'] * (len(host.requests) - 1)
    starts = [int(str(one).removeprefix("bytes=").rstrip("-")) for one, _ in host.requests[1:]]
    assert starts == sorted(starts)
    assert starts[0] == 1_000_000


def test_a_stopped_download_goes_on_later_in_another_process(host: Host, tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(Stopped, match="it goes on where it ended"):
        fetch_file(
            file_of(host), tmp_path / "file.bin", progress=seen.append, stop=lambda: seen[-1] > 1_000_000, pause=0
        )
    assert not (tmp_path / "file.bin").exists()
    have = (tmp_path / "file.bin.part").stat().st_size
    assert 1_000_000 < have < len(CONTENT)
    assert fetch_file(file_of(host), tmp_path / "file.bin", pause=0).read_bytes() == CONTENT
    assert host.requests[-1] == (f"bytes={have}-", '"v1"')


def test_a_file_that_changed_meanwhile_starts_anew(host: Host, tmp_path: Path) -> None:
    seen: list[int] = []
    with pytest.raises(Stopped):
        fetch_file(file_of(host), tmp_path / "file.bin", progress=seen.append, stop=lambda: bool(seen), pause=0)
    host.content, host.tag = CONTENT[::-1], '"v2"'
    path = fetch_file(file_of(host, CONTENT[::-1]), tmp_path / "file.bin", pause=0)
    assert path.read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(("ranges", "tag"), [(False, '"v1"'), (True, ""), (True, 'W/"weak"')])
def test_without_ranges_or_a_strong_mark_it_starts_anew(host: Host, tmp_path: Path, ranges: bool, tag: str) -> None:
    host.ranges, host.tag = ranges, tag
    seen: list[int] = []
    with pytest.raises(Stopped):
        fetch_file(file_of(host), tmp_path / "file.bin", progress=seen.append, stop=lambda: bool(seen), pause=0)
    assert fetch_file(file_of(host), tmp_path / "file.bin", pause=0).read_bytes() == CONTENT


def test_a_part_as_long_as_the_file_is_not_taken_for_it(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(bytes(len(CONTENT)))
    (tmp_path / "file.bin.part.json").write_text(f'{{"url": "{host.url}", "mark": "\\"v1\\""}}')
    assert fetch_file(file_of(host), tmp_path / "file.bin", pause=0).read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(host: Host, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the checksum .*…, not the published .*…; it was removed"):
        fetch_file(replace(file_of(host), checksum="md5:" + "0" * 32), tmp_path / "file.bin", pause=0)
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_refuses_is_asked_once_and_a_busy_one_again(host: Host, tmp_path: Path) -> None:
    host.status = 403
    with pytest.raises(Refused, match=r"The host of file.bin refuses it .403 Forbidden"):
        fetch_file(file_of(host), tmp_path / "file.bin", pause=0)
    assert len(host.requests) == 1
    host.status, host.failures = 503, 3
    assert fetch_file(file_of(host), tmp_path / "file.bin", pause=0).read_bytes() == CONTENT
    host.failures = 0
    with pytest.raises(Refused, match=r"could not be downloaded \(the host says 503"):
        fetch_file(file_of(host), tmp_path / "other.bin", pause=0)


def test_nobody_listening_is_one_sentence(tmp_path: Path) -> None:
    file = DataFile("file.bin", "http://127.0.0.1:9/file.bin", "md5:" + "0" * 32, 10)
    with pytest.raises(Refused, match=r"file\.bin could not be downloaded .*; check the connection and try again"):
        fetch_file(file, tmp_path / "file.bin", pause=0)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_and_during(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=download.SPARE + 1_000_000))
        with pytest.raises(UserError, match=r"file\.bin needs 3 MiB in .*, where 65 MiB are free; free some space"):
            fetch_file(file_of(host), tmp_path / "file.bin", pause=0)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"no space left in .* for file.bin; free some: the download goes on"):
        fetch_file(file_of(host), tmp_path / "file.bin", pause=0)
    assert (tmp_path / "file.bin.part").exists()


def test_two_at_once_are_one(host: Host, tmp_path: Path) -> None:
    with (tmp_path / "file.bin.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"Another process downloads file.bin just now"):
            fetch_file(file_of(host), tmp_path / "file.bin", pause=0)


def test_a_host_that_sends_far_more_than_there_should_be(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SPARE", 1000)
    with pytest.raises(UserError, match="has 3,145,728 bytes there, where about 10 are expected"):
        fetch_file(replace(file_of(host), bytes=10), tmp_path / "file.bin", pause=0)


def test_only_http_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no https or http address"):
        fetch_file(DataFile("a", "file:///etc/passwd", "md5:" + "0" * 32, 1), tmp_path / "a", pause=0)


@pytest.fixture
def two_files(host: Host, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stanford Dogs with both its files on our host."""
    files = tuple(replace(file_of(host), name=name) for name in ("images.tar", "lists.tar"))
    monkeypatch.setitem(DATASETS, "stanford-dogs", replace(DATASETS["stanford-dogs"], files=files))
    return "stanford-dogs"


def test_a_data_set_gets_what_is_missing_and_progress_counts_all(
    host: Host, settings: Settings, two_files: str
) -> None:
    steps: list[tuple[int, int]] = []
    paths = download_dataset(two_files, settings, progress=lambda done, of: steps.append((done, of)), pause=0)
    assert [path.name for path in paths] == ["images.tar", "lists.tar"]
    assert steps[-1] == (2 * len(CONTENT), 2 * len(CONTENT))
    assert verify(two_files, settings) == ()
    before = len(host.requests)
    assert download_dataset(two_files, settings, pause=0) == ()
    assert len(host.requests) == before
    paths[1].write_bytes(b"something else")
    (fault,) = verify(two_files, settings)
    assert "lists.tar is not the published file" in fault


def test_a_refusal_says_how_to_place_the_files_by_hand(host: Host, settings: Settings, two_files: str) -> None:
    host.status = 404
    with pytest.raises(UserError, match=r"refuses it \(404 .*Or do it by hand: Get images.tar, lists.tar from http"):
        download_dataset(two_files, settings, pause=0)


def test_what_can_only_be_placed_by_hand_says_so(settings: Settings) -> None:
    with pytest.raises(
        UserError, match=r"CelebA cannot be downloaded: it lies on Google Drive.* Get img_align_celeba.zip"
    ):
        download_dataset("celeba", settings)


def test_a_broken_encryption_is_a_broken_connection(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, asked = http.client.HTTPResponse.read1, []

    def read1(answer: http.client.HTTPResponse, n: int = -1) -> bytes:
        asked.append(n)
        if len(asked) == 2:
            raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed or bad record mac")
        return whole(answer, n if len(asked) > 2 else 1000)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", read1)
    assert fetch_file(file_of(host), tmp_path / "file.bin", pause=0).read_bytes() == CONTENT
    assert host.requests[1][0] == "bytes=1000-"  # it went on where it broke
