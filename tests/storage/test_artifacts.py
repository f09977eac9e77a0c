"""Files by content: what goes in comes out, and only a sha opens the door."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import UserError
from core.storage.artifacts import ArtifactStore, decode_png, encode_png


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))))
def test_pixels_survive(pixels: np.ndarray) -> None:
    back = decode_png(encode_png(pixels))
    assert np.array_equal(back, np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def test_same_pixels_same_file(store: ArtifactStore) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    sha = store.put_png(pixels)
    assert store.put_png(pixels.copy(order="F")) == sha
    assert sha == hashlib.sha256(store.read_bytes(sha)).hexdigest()
    assert [p for p in store.root.rglob("*") if p.is_file()] == [store.path(sha)]


@pytest.mark.parametrize("pixels", [np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8), np.zeros(4, np.uint8)])
def test_other_pixels_are_refused(store: ArtifactStore, pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        store.put_png(pixels)


@pytest.mark.parametrize("sha", ["", "../" * 20 + "etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64, None])
def test_what_is_no_sha_opens_nothing(store: ArtifactStore, sha: str) -> None:  # BAD_INPUTS 40
    with pytest.raises(UserError, match="64 hex digits"):
        store.path(sha)


def test_an_unknown_sha_is_said_to_be_missing(store: ArtifactStore) -> None:
    with pytest.raises(UserError, match="holds no file"):
        store.read_bytes("0" * 64)


def test_an_unknown_suffix_is_refused(store: ArtifactStore) -> None:
    with pytest.raises(ValueError, match="suffix"):
        store.put_bytes(b"", "/../x")


def test_a_failed_write_leaves_nothing(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put_bytes(b"data", ".bin")
    assert [p for p in store.root.rglob("*") if p.is_file()] == []


def test_collect_spares_the_named_and_the_young(store: ArtifactStore) -> None:
    kept, old, young, again = (store.put_bytes(word, ".bin") for word in (b"kept", b"old", b"young", b"again"))
    leftover = store.path(old).parent / ".tmp-1"
    leftover.write_bytes(b"half")
    long_ago = time.time() - 1000
    for path in (store.path(kept), store.path(old), store.path(again), leftover):
        os.utime(path, (long_ago, long_ago))
    store.put_bytes(b"again", ".bin")  # asked for anew: young again
    assert store.collect({kept}, older_than=500) == [old]
    assert [store.exists(sha) for sha in (kept, old, young, again)] == [True, False, True, True]
    assert not leftover.exists()
