"""What the Metrics page says: every metric is explained, short, and what is missing says what to do."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS
from core.models.weights import WEIGHTS
from core.report.guide import KINDS, filtered, guide_csv, notes, weights_notes
from core.report.names import short_name
from core.settings import Settings, load_settings
from core.tables import read_table

MOST_WORDS = 25


@pytest.fixture
def bare(home: Path) -> Settings:
    return replace(load_settings(), torch_cache=None)


@pytest.mark.parametrize("name", [*METRICS, *SET_METRICS])
def test_every_metric_says_briefly_what_it_sees_and_misses(name: str) -> None:
    record = METRICS.get(name) or SET_METRICS[name]
    for words in (record.sees, record.misses):
        assert words.strip()
        assert len(words.split()) <= MOST_WORDS, f"{len(words.split())} words: {words}"
        assert words.endswith(".")


def test_every_metric_has_a_note_with_all_that_the_page_shows(bare: Settings) -> None:
    found = {note.name: note for note in notes(bare)}
    assert list(found) == [*METRICS, *SET_METRICS]
    for note in found.values():
        assert note.kind in KINDS
        for field in (
            "short",
            "title",
            "direction",
            "range",
            "sees",
            "misses",
            "input",
            "library",
            "version",
            "source",
        ):
            assert getattr(note, field), (note.name, field)
    assert found["psnr"].arrow == "↑"
    assert found["psnr"].direction == "higher means more leakage"
    assert found["psnr"].range == "0 … ∞ dB"
    assert found["ssim"].range == "\u22121 … 1"
    assert found["lpips_alex"].arrow == "↓"
    assert found["lpips_alex_224"].input == "resized to 224 px"
    assert found["ms_ssim"].minimum == "176 px"
    assert (found["victim_probability"].kind, found["victim_probability"].arrow) == ("diagnostic", "")
    assert found["victim_probability"].direction == "higher means a closer fit"
    assert "which only an audit has" in found["victim_probability"].condition


def test_what_is_missing_says_why_and_what_to_do(bare: Settings, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {note.name: note for note in notes(bare)}["lpips_alex"]
    assert not missing.available
    assert "alexnet-imagenet-features.safetensors" in missing.problem
    assert "doctor --download" in missing.remedy
    assert "alexnet-imagenet-features" in missing.brief
    assert str(bare.weights) not in missing.problem + missing.remedy  # no path of the server's
    there = {note.name: note for note in notes(replace(bare, weights=shared / "weights"))}["lpips_alex"]
    assert there.available
    assert there.remedy == there.problem == there.brief == ""
    by_hand = replace(WEIGHTS["alexnet-imagenet-features"], sha256="")
    monkeypatch.setitem(WEIGHTS, "alexnet-imagenet-features", by_hand)
    assert {note.name: note for note in notes(bare)}["lpips_alex"].remedy.startswith("By hand: put")
    monkeypatch.setitem(METRICS, "mse", replace(METRICS["mse"], packages=("no_such_package",)))
    package = {note.name: note for note in notes(bare)}["mse"]
    assert "no_such_package is not installed" in package.problem
    assert package.brief == package.problem
    assert package.remedy == ""


def test_metrics_of_sets_are_explained_too(bare: Settings) -> None:
    found = {note.name: note for note in notes(bare)}
    fid = found["fid"]
    assert (fid.kind, fid.arrow, fid.direction) == ("set", "↓", "lower means more leakage")
    assert "pictures in each set" in fid.minimum
    assert not fid.available
    assert "inception-fid" in fid.brief
    assert "FID" in {note.name: note for note in weights_notes(bare)}["inception-fid"].used_by


def test_filters(bare: Settings) -> None:
    found = notes(bare)
    assert filtered(found) == found
    assert {note.kind for note in filtered(found, "diagnostic")} == {"diagnostic"}
    assert all(note.needs for note in filtered(found, state="weights"))
    assert len(filtered(found, state="available")) + len(filtered(found, state="missing")) == len(found)
    assert not [note for note in filtered(found, "pair", "missing") if note.available]


def test_the_table_can_be_read_again(bare: Settings) -> None:
    found = notes(bare)
    frame = read_table(guide_csv(found), required=("name", "sees", "misses", "problem"))
    assert frame["name"].tolist() == [note.name for note in found]
    assert frame["sees"].tolist() == [note.sees for note in found]
    assert isinstance(frame, pd.DataFrame)


def test_weights_found_missing_in_torch_s_cache_and_by_hand(
    bare: Settings, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {note.name: note for note in weights_notes(replace(bare, weights=shared / "weights"))}
    assert list(found) == list(WEIGHTS)
    alex = found["alexnet-imagenet-features"]
    assert alex.found.startswith("alexnet-imagenet-features.safetensors, sha256 ")
    assert (alex.reason, alex.button) == ("", "")
    assert "LPIPS alex" in alex.used_by
    vgg = found["vgg16-imagenet-features"]
    assert (vgg.found, vgg.button, vgg.size) == ("", "Download", "528 MiB")
    assert "BSD" in vgg.licence
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / WEIGHTS["vgg16-imagenet-features"].file).write_bytes(b"not looked into by a page")
    cached = {note.name: note for note in weights_notes(replace(bare, torch_cache=cache))}["vgg16-imagenet-features"]
    assert cached.button == "Take in"
    assert "torch's cache" in cached.reason
    lpips = {note.name: note for note in notes(replace(bare, torch_cache=cache))}
    assert (lpips["lpips_vgg"].available, lpips["lpips_vgg"].worth_asking) == (False, True)
    assert (lpips["lpips_alex"].available, lpips["lpips_alex"].worth_asking) == (False, False)
    assert not bare.weights.exists()  # nothing was converted
    monkeypatch.setitem(WEIGHTS, "dino-vits16", replace(WEIGHTS["dino-vits16"], sha256=""))
    hand = {note.name: note for note in weights_notes(bare)}["dino-vits16"]
    assert hand.button == ""
    assert "by hand" in hand.reason


@pytest.mark.parametrize(
    ("name", "short"),
    [("ms_ssim", "MS-SSIM"), ("haarpsi", "HaarPSI"), ("lpips_alex_224", "LPIPS alex 224"), ("fid_alex", "FID alex"),
     ("dino_vits16_224", "DINO ViT-S/16 224"), ("classifier_top1", "classifier top1")],
)  # fmt: skip
def test_short_names(name: str, short: str) -> None:
    assert short_name(name) == short
