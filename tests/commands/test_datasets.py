"""`python -m core datasets`."""

import argparse
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.__main__ import main
from core.commands import audit
from core.images.datasets import DATASETS, open_dataset
from core.images.published import DataFile
from core.settings import load_settings
from tests.images.dataset_files import cifar100_archive, class_folder, of_class
from tests.images.file_server import serving

ARCHIVE = "cifar-100-binary.tar.gz"


@pytest.fixture
def archive(home: Path) -> Path:
    return cifar100_archive(home / "datasets" / "cifar100" / ARCHIVE, per_class=1)


def test_list_says_what_is_there(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(DATASETS)
    assert "differs" in lines["cifar100"]  # a generated archive is not of the published size
    assert "there" in lines["lfw"]
    assert "missing" in lines["cifar10"]
    assert "by hand" in lines["celeba"]


def test_show_names_licence_files_and_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", "stanford-dogs"]) == 0
    said = capsys.readouterr().out
    assert DATASETS["stanford-dogs"].licence in said
    assert "a443fc2f9a851aa1" in said
    assert f"put them in {home / 'datasets' / 'stanford-dogs'}/" in said


def test_show_says_that_a_file_is_not_the_published_one(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", "cifar100"]) == 0
    assert f"note: {ARCHIVE} is not the published file" in capsys.readouterr().out


def test_download_wants_the_licence_accepted_first(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = cifar100_archive(tmp_path / ARCHIVE, per_class=1).read_bytes()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(content) as host:
        file = DataFile(ARCHIVE, host.url, f"md5:{hashlib.md5(content).hexdigest()}", len(content))
        monkeypatch.setitem(DATASETS, "cifar100", replace(DATASETS["cifar100"], files=(file,)))
        assert main(["datasets", "download", "cifar100"]) == 1
        shown = capsys.readouterr()
        assert DATASETS["cifar100"].licence in shown.out
        assert "run this again with --accept-licence" in shown.err
        assert host.requests == []
        assert main(["datasets", "download", "cifar100", "--accept-licence"]) == 0
    assert len(open_dataset("cifar100", load_settings()).entries) == 200


def test_sample_writes_a_list_that_an_audit_could_take_and_the_pictures(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["datasets", "sample", "cifar100", "--per-class", "1", "--classes", "thing_03, thing_01"]
    assert main([*command, "--out", str(tmp_path / "a.csv"), "--export", str(tmp_path / "png")]) == 0
    assert "2 images of CIFAR-100 are listed" in capsys.readouterr().out
    assert set((tmp_path / "a.csv").read_text().splitlines()[5:]) == {"test-00001", "test-00003"}
    with Image.open(tmp_path / "png" / "thing_03" / "test-00003.png") as image:
        np.testing.assert_array_equal(np.asarray(image), of_class(3, 1, 32))
    assert main([*command, "--out", str(tmp_path / "b.csv"), "--export", str(tmp_path / "png")]) == 1
    assert "is there already and not empty" in capsys.readouterr().err
    assert not (tmp_path / "b.csv").exists()


def test_sample_of_a_folder_and_bad_wishes(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = class_folder(tmp_path / "mine", {"a": 4, "b": 4})
    out = ["--out", str(tmp_path / "a.csv")]
    assert main(["datasets", "sample", f"folder:{folder}", "--part", "train", "--count", "5", *out]) == 0
    for wish, sentence in (
        ([], "Say how many images"),
        (["--count", "50"], "ask for fewer"),
        (["--count", "1", "--classes", "c"], "no class called 'c'"),
    ):
        assert main(["datasets", "sample", f"folder:{folder}", *wish, *out]) == 1
        assert sentence in capsys.readouterr().err


def test_an_audit_takes_a_data_set_by_name_and_by_list(archive: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    audit.add_arguments(parser)
    flags = ["--model", "lenet", "--num-classes", "100", "--images", "cifar100", "--attack", "dlg"]
    drawn = audit._request(parser.parse_args([*flags, "--limit", "8", "--seed", "3"]))
    assert [one.name[:6] for one in drawn.prepared] == ["train-"] * 8
    assert all((one.label, one.label_source) == (int(one.name[6:]), "dataset") for one in drawn.prepared)
    assert main(["datasets", "sample", "cifar100", "--count", "2", "--out", str(tmp_path / "list.csv")]) == 0
    listed = audit._request(parser.parse_args([*flags, "--images-list", str(tmp_path / "list.csv")]))
    assert [one.name for one in listed.prepared] == (tmp_path / "list.csv").read_text().splitlines()[5:]
