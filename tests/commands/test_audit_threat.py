"""The audit command's threat model, defences, lists and `--again`: every flag reaches run.json, mistakes are said."""

import argparse
import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.__main__ import main
from core.attacks import ATTACKS
from core.commands.audit_again import request_again
from core.commands.audit_threat import add_threat_arguments, threat_model
from core.jobs.plan import check_fits
from core.leakage.defences import DEFENCES
from core.leakage.defences.text import read_defence, write_defence
from core.leakage.threat import ChosenDefence, ThreatModel

MODELS = Path(__file__).resolve().parents[2] / "assets" / "models"
TINY = ["--model", "mlp", "--size", "8", "--images", "photos", "--device", "cpu"]
QUICK = ["--attack", "dlg", "--set", "iterations=2", "--set", "restarts=1"]


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Nothing of the machine's own home is read or written."""


def audit(out: Path, *arguments: str) -> dict[str, object]:
    """Run it; the run.json that it wrote."""
    assert main(["audit", "--out", str(out), *arguments]) == 0
    return json.loads((out / "run.json").read_text(encoding="utf-8"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run it; the one sentence with which it refuses."""
    capsys.readouterr()
    assert main(["audit", *arguments]) == 1
    printed = capsys.readouterr().err.strip()
    assert printed.startswith("error: ")
    assert "\n" not in printed
    return printed


def test_every_flag_of_the_threat_model_reaches_run_json(tmp_path: Path) -> None:
    flags = ["--update", "weights", "--batch-size", "4", "--clients", "2", "--local-epochs", "2", "--local-batch", "2"]
    flags += ["--local-lr", "0.05", "--label-knowledge", "inferred", "--batchnorm", "train", "--no-running-statistics"]
    flags += ["--batch-statistics", "--defence", "clip:norm=0.5", "--defence", "gaussian", "--not-adaptive"]
    run = audit(tmp_path / "out", *TINY, *QUICK, "--limit", "4", "--controls", "0", *flags)
    wanted = ThreatModel(
        4, "train", "inferred", "weights", 2, False, True, 2, 2, 0.05,
        (read_defence("clip:norm=0.5"), read_defence("gaussian")), False,
    )  # fmt: skip
    assert ThreatModel.from_dict(run["threat_model"]) == wanted


def test_without_flags_a_gradient_of_one_image_is_shared(tmp_path: Path) -> None:
    run = audit(tmp_path / "out", *TINY, *QUICK, "--limit", "1", "--controls", "0", "--defence", "none")
    assert ThreatModel.from_dict(run["threat_model"]) == ThreatModel()


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_shared_follows_the_attack_unless_it_is_said(name: str) -> None:
    parser = argparse.ArgumentParser()
    add_threat_arguments(parser)
    attack = ATTACKS[name]
    taken = threat_model(parser.parse_args([]), attack)
    assert taken.update == ("gradients" if "gradients" in attack.updates else attack.updates[0])
    check_fits(attack, taken)
    for update in attack.updates:
        assert threat_model(parser.parse_args(["--update", update]), attack).update == update


@pytest.mark.parametrize("defence", ["crop-flip:padding=2", "clip:norm=0.5"])
def test_a_run_is_run_again_to_the_same_bytes_from_its_folder(defence: str, tmp_path: Path) -> None:
    first, second, moved = tmp_path / "first", tmp_path / "second", tmp_path / "moved"
    flags = ["--limit", "2", "--batch-size", "2", "--defence", defence, "--seed", "3", "--controls", "1"]
    run = audit(first, *TINY, *QUICK, *flags)
    assert (first / "sources").is_dir() == defence.startswith("crop")  # the input was changed, and both are kept
    shutil.move(first, moved)
    again = audit(second, "--again", str(moved / "run.json"))
    pictures = sorted(path.relative_to(moved) for path in moved.rglob("*.png"))
    assert len(pictures) >= 2 + 2 + 2
    assert pictures == sorted(path.relative_to(second) for path in second.rglob("*.png"))
    assert all((moved / path).read_bytes() == (second / path).read_bytes() for path in pictures)
    same = ("model", "images", "dataset", "threat_model", "attack", "config", "seed", "original_pixels_sha256", "asked")
    assert {name: run[name] for name in same} == {name: again[name] for name in same}


def test_what_a_defence_changed_is_scored_against_both(tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--limit", "4", "--defence", "crop-flip:padding=2", "--seed", "3", "--controls", "1"]
    run = audit(out, *TINY, *QUICK, *flags)
    attacked, source = (pd.read_csv(out / name).set_index("name") for name in ("scores.csv", "scores_source.csv"))
    assert run["source"]["scores"] == "scores_source.csv"
    assert sorted(run["source"]["changed"]) == sorted(path.stem for path in (out / "sources").iterdir())
    assert list(attacked.index) == list(source.index)
    assert not [name for name in source.columns if name.startswith("victim")]  # the victim never saw these pictures
    for name in source.index:
        before = out / "sources" / f"{name}.png"
        pictures = [before if before.exists() else out / "originals" / f"{name}.png"]
        pictures.append(out / "reconstructions" / f"{name}.png")
        first, second = (np.asarray(Image.open(path)) / 255 for path in pictures)
        # by definition: the mean of the squared differences
        assert source.loc[name, "mse"] == pytest.approx(np.mean((first - second) ** 2), rel=1e-9)
        assert (source.loc[name, "mse"] == attacked.loc[name, "mse"]) == (name not in run["source"]["changed"])
    again = audit(tmp_path / "again", "--again", str(out / "run.json"))
    assert again["source"] == run["source"]
    assert (tmp_path / "again" / "scores_source.csv").read_text().splitlines()[0] == ",".join(["name", *source.columns])


def test_without_such_a_defence_there_is_one_table(tmp_path: Path) -> None:
    still = ["--defence", "crop-flip:padding=0,flip=false"]
    for place, defence in (("none", []), ("clip", ["--defence", "clip:norm=0.5"]), ("still", still)):
        run = audit(tmp_path / place, *TINY, *QUICK, "--limit", "1", "--controls", "0", *defence)
        assert "source" not in run
        assert not (tmp_path / place / "scores_source.csv").exists()


def test_own_weights_are_asked_for_again_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--images", "lfw", "--limit", "1", *QUICK, "--controls", "0", "--device", "cpu"]
    mine = tmp_path / "mine.safetensors"
    shutil.copy(MODELS / "lenet-faces.safetensors", mine)
    audit(tmp_path / "own", "--weights", str(mine), "--architecture", "lenet", "--num-classes", "2", *common)
    again = ["--again", str(tmp_path / "own" / "run.json"), "--out", str(tmp_path / "own2")]
    assert "--weights" in refused(capsys, *again)
    assert main(["audit", *again, "--weights", str(mine)]) == 0
    first, second = (next((tmp_path / run / "reconstructions").iterdir()) for run in ("own", "own2"))
    assert first.read_bytes() == second.read_bytes()


def test_a_trained_preset_comes_back_with_its_weights(tmp_path: Path) -> None:
    common = ["--images", "lfw", "--limit", "1", *QUICK, "--controls", "0", "--device", "cpu"]
    audit(tmp_path / "out", "--model", "lenet-faces", *common)
    request, note = request_again(tmp_path / "out" / "run.json")
    assert request.weights == (MODELS / "lenet-faces.safetensors").read_bytes()
    assert note == ""


@pytest.mark.parametrize("damage", ["image", "json", "shape", "gone", "list", "name"])
def test_a_damaged_run_json_is_one_sentence(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    run = audit(folder, *TINY, *QUICK, "--limit", "1", "--controls", "0")
    file, picture = folder / "run.json", next((folder / "originals").iterdir())
    if damage == "image":
        other = audit(tmp_path / "other", *TINY, *QUICK, "--limit", "2", "--controls", "0")
        shutil.copy(tmp_path / "other" / "originals" / f"{other['images'][1]['name']}.png", picture)
    elif damage == "gone":
        picture.unlink()
    elif damage == "name":
        run["images"][0]["name"] = "../../etc/passwd"
        file.write_text(json.dumps(run))
    else:
        file.write_text({"json": "{", "shape": '{"model": {}}', "list": "[1]"}[damage])
    word = {"image": "not those", "gone": "originals/"}.get(damage, "run.json")
    assert word in refused(capsys, "--again", str(file), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*TINY, *QUICK, "--local-epochs", "2"], "--update weights"),
        ([*TINY, *QUICK, "--not-adaptive"], "--defence"),
        ([*TINY, *QUICK, "--clients", "2"], "shared equally"),
        ([*TINY, *QUICK, "--batch-size", "129"], "1 to 128"),
        ([*TINY, *QUICK, "--batch-statistics"], "choose train"),
        ([*TINY, *QUICK, "--no-running-statistics"], "running statistics"),
        ([*TINY, *QUICK, "--update", "none"], "nothing but the model"),
        ([*TINY, *QUICK, "--update", "none", "--batch-size", "2"], "--batch-size"),
        ([*TINY, *QUICK, "--update", "weights", "--local-lr", "0"], "learning rate"),
        ([*TINY, *QUICK, "--defence", "magic"], "no defence called 'magic'"),
        ([*TINY, *QUICK, "--defence", "clip:nrom=1"], "did you mean norm"),
        ([*TINY, *QUICK, "--defence", "clip:norm"], "key=value"),
        ([*TINY, *QUICK, "--defence", "clip:norm=1,norm=2"], "twice"),
        ([*TINY, *QUICK, "--defence", "clip:norm=-1"], "norm must be from"),
        ([*TINY, *QUICK, "--defence", "none", "--defence", "clip"], "no defence at all"),
        ([*TINY], "--attack is missing"),
        (["--model", "mlp", *QUICK], "--images is missing"),
        (["--again", "gone.json"], "cannot be read"),
        (["--again", "gone.json", "--seed", "1"], "leave out --seed"),
        (["--again", "gone.json", "--label-knowledge", "known"], "leave out --label-knowledge"),
    ],
)
def test_a_contradiction_gets_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, *arguments, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_where_to_write_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--out DIR is missing" in refused(capsys, *TINY, *QUICK)


def text_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["audit", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("flag", "registry"), [("--list-attacks", ATTACKS), ("--list-defences", DEFENCES)])
def test_the_lists_name_all_with_settings_defaults_and_meanings(
    flag: str, registry: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = text_of(capsys, flag)
    for name, entry in registry.items():
        assert f"\n{name}: {entry.title}\n" in shown
        own = " ".join(text_of(capsys, flag, name).split())
        assert " ".join(entry.summary.split()) in own
        for field in fields(entry.config):
            default = getattr(entry.config, field.name)
            text = str(default).lower() if isinstance(default, bool) else default if isinstance(default, str) else None
            assert f" {field.name} {f'{default:g}' if text is None else text}" in own or isinstance(default, int)
            assert str(field.metadata["help"]) in own


def test_an_unknown_name_in_a_list_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean dlg" in refused(capsys, "--list-attacks", "dgl")


@pytest.mark.parametrize("name", DEFENCES)
def test_a_defence_is_read_as_it_is_written(name: str) -> None:
    defence = DEFENCES[name]
    assert write_defence(read_defence(name)) == name
    settings = asdict(defence.config)
    for key, value in settings.items():
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, float):
            most = next(field.metadata["maximum"] for field in fields(defence.config) if field.name == key)
            other = value * 2 if most is None else (value + most) / 2
        else:
            continue
        changed = ChosenDefence(name, {**settings, key: other})
        assert read_defence(write_defence(changed)) == changed
