"""`python -m core train`."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from core.__main__ import main
from core.commands import train_folder
from core.commands.audit_again import request_again
from core.jobs.launch import PROJECT, environment_of
from core.models.build import build_model, load_weights
from core.models.spec import ModelSpec
from core.settings import Settings, load_settings
from tests.jobs.test_processes import wait_for
from tests.models.training.helpers import as_if_from

FEW = ["--model", "lenet", "--data", "lfw", "--size", "16", "--channels", "1", "--per-class", "12", "--device", "cpu"]
QUICK = ["--set", "batch_size=8", "--set", "learning_rate=0.01", "--set", "schedule=cosine"]


@pytest.fixture
def settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty home, inline, one thread."""
    for name, value in {"EXECUTOR": "inline", "THREADS": "1", "DEVICE": "cpu"}.items():
        monkeypatch.setenv(f"SEMSIGHT_{name}", value)
    return load_settings()


def test_a_folder_gets_weights_their_spec_and_the_curve(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "victim"
    asked = ["train", *FEW, *QUICK, "--recipe", "gaussian 1e-3", "--set", "epochs=3", "--set", "keep_epochs=2"]
    assert main([*asked, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "lenet · lfw, 12 a class · gaussian 1e-3 · 3 epochs: 24 images to train on, 40 held out" in said
    assert "epoch 3/3" in said
    assert "privacy" not in said
    assert "clean" not in said
    names = {"curve.csv", "epoch-2.safetensors", "model.json", "model.safetensors", "training.json"}
    assert {path.name for path in out.iterdir()} == names
    model = json.loads((out / "model.json").read_text())
    weights = (out / "model.safetensors").read_bytes()
    spec = ModelSpec.from_json(json.dumps(model["spec"]))
    assert spec.weights_sha256 == hashlib.sha256(weights).hexdigest()
    build_model(spec, load_weights(weights))
    with (out / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[-1]["held_out_accuracy"]) == model["facts"]["accuracy"]
    assert model["facts"]["recipe"]["defence"] == "gaussian"

    assert main([*asked, "--out", str(out)]) == 0
    assert "holds this very training, done" in capsys.readouterr().out
    assert main([*asked, "--set", "seed=1", "--out", str(out)]) == 1
    assert "holds another training" in capsys.readouterr().err


def test_another_optimiser_needs_no_word_about_momentum(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = ["train", *FEW, *QUICK, "--set", "epochs=1", "--set", "optimiser=adam", "--out", str(tmp_path / "adam")]
    assert main(asked) == 0
    assert main([*asked, "--set", "momentum=0.5"]) == 1
    assert "adam has none, so a momentum of 0.5 would do nothing" in capsys.readouterr().err


def test_kill_9_changes_no_byte(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    asked = ["train", *FEW, *QUICK, "--set", "epochs=100", "--set", "defence=dp-sgd"]
    out, calm = tmp_path / "killed", tmp_path / "calm"
    impatient = environment_of(replace(settings, checkpoint_seconds=0.05))
    command = [sys.executable, "-m", "core", *asked, "--out", str(out)]
    process = subprocess.Popen(command, cwd=PROJECT, env=impatient, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: (out / "checkpoint.bin").is_file() and (out / "curve.csv").is_file())
    finally:
        process.kill()
        process.wait()
    assert not (out / "model.json").exists()
    calm.mkdir()
    for name in ("training.json", "secret.key"):  # the same noise
        shutil.copy(out / name, calm / name)
    key = (out / "secret.key").read_text().strip()
    assert main([*asked, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "going on from a checkpoint" in said
    assert "note: ε covers the weights. It does not cover the curve" in said
    assert main([*asked, "--out", str(calm)]) == 0
    assert (out / "model.safetensors").read_bytes() == (calm / "model.safetensors").read_bytes()
    names = {"curve.csv", "model.json", "model.safetensors", "training.json"}
    assert {path.name for path in out.iterdir()} == names  # neither the checkpoint nor the key
    assert all(key not in str(path.read_bytes()) for path in out.iterdir())
    model = json.loads((out / "model.json").read_text())
    assert model["facts"]["epsilon"] == model["record"]["privacy"]["epsilon"]
    assert not {"train_loss", "gradient_norm"} & {*model["facts"], *model["record"]}
    tables = [list(csv.reader((folder / "curve.csv").read_text().splitlines())) for folder in (out, calm)]
    speed = tables[0][0].index("images_per_second")
    assert [[*row[:speed], *row[speed + 1 :]] for row in tables[0]] == [
        [*row[:speed], *row[speed + 1 :]] for row in tables[1]
    ]


def test_on_another_kind_of_device_the_folder_waits(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["train", *FEW, *QUICK, "--set", "epochs=2", "--out", str(tmp_path / "victim")]
    with monkeypatch.context() as stopped:
        stopped.setattr(train_folder, "_stop_sign", lambda: nullcontext(lambda: True))  # Ctrl-C in the first step
        assert main(asked) == train_folder.STOPPED
    checkpoint = tmp_path / "victim" / "checkpoint.bin"
    checkpoint.write_bytes(as_if_from("cuda", checkpoint.read_bytes()))
    before = {path.name: path.read_bytes() for path in checkpoint.parent.iterdir()}
    assert main(asked) == 1
    assert "error: This training was begun on a GPU" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in checkpoint.parent.iterdir()} == before


def test_without_a_folder_it_is_a_job_of_the_store(settings: Settings, capsys: pytest.CaptureFixture) -> None:
    asked = ["train", *FEW, *QUICK, "--set", "epochs=2"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert said.startswith("training 1\nepoch 1/2 ")
    assert "model 1: lenet · lfw, 12 a class · crop+flip · 2 epochs" in said
    assert main(asked) == 0
    assert "asked before and done" in capsys.readouterr().out
    away = [
        "--set",
        "learning_rate=100",
        "--set",
        "weight_decay=10",
        "--set",
        "epochs=30",
        "--set",
        "schedule=constant",
    ]
    assert main([*asked, *away]) == 1
    assert "error: The loss is no longer a number" in capsys.readouterr().err


def test_a_private_training_says_what_it_promises(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    private = ["--set", "defence=dp-sgd", "--set", "dp_noise=1.5", "--set", "dp_delta=0.001", "--recipe", "none"]
    asked = ["train", *FEW, *QUICK, *private, "--set", "epochs=1"]
    guarantee = r"privacy: ε (\S+) at δ 0.001 \(q 0.333, one image added or removed\)"  # steps of 8 of 24 images
    for more in (["--out", str(tmp_path / "out")], []):
        assert main([*asked, *more]) == 0
        said = capsys.readouterr().out
        (spent,) = re.findall(guarantee, said)
        assert f"ε {spent} at δ 0.001 · " in said.partition("epoch 1/1 ")[2]
        assert "· clean gradient norm " in said
        assert "clean gradient norm: of the mean gradient before clipping and noise\n" in said
    model = json.loads((tmp_path / "out" / "model.json").read_text())
    assert f"{model['facts']['epsilon']:.3g}" == spent


def test_what_is_said_of_wrong_arguments(settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "--list-recipes"]) == 0
    assert "ats 3-1-7+43-18-18   policies=3-1-7+43-18-18" in capsys.readouterr().out
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for arguments, sentence in (
        (["--data", "lfw"], "--model is missing"),
        (["--model", "lenet"], "--data is missing"),
        ([*FEW, "--set", "epochs"], "--set takes KEY=VALUE"),
        ([*FEW, "--set", "epoch=3"], "did you mean epochs?"),
        ([*FEW, "--recipe", "crop flip"], "did you mean crop+flip"),
        ([*FEW, "--arguments", "base=8"], "takes no arguments"),
        ([*FEW, *QUICK, "--out", str(tmp_path / "full")], "is not empty and holds no training"),
    ):
        assert main(["train", *arguments]) == 1
        assert sentence in capsys.readouterr().err


def test_an_audit_takes_a_trained_folder_or_a_model_of_the_store(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = ["train", *FEW, *QUICK, "--set", "epochs=1"]
    assert main([*asked, "--out", str(tmp_path / "victim")]) == 0
    assert main(asked) == 0
    attack = ["audit", "--images", "lfw", "--limit", "1", "--attack", "dlg", "--set", "iterations=2", "--controls", "0"]
    runs = []
    for place, model in enumerate((str(tmp_path / "victim"), "trained:1")):
        out = tmp_path / f"out{place}"
        assert main([*attack, "--model", model, "--out", str(out)]) == 0
        assert "note: Held out: the victim has seen none" in capsys.readouterr().err
        runs.append((out / "reconstructions").glob("*.png").__next__().read_bytes())
    assert runs[0] == runs[1]  # the same weights, and so the same update
    weights = tmp_path / "victim" / "model.safetensors"
    assert request_again(tmp_path / "out1" / "run.json", weights)[0].weights == weights.read_bytes()
    capsys.readouterr()
    for model, sentence in (
        ("trained:9", "There is no model 9"),
        ("trained:x", "takes the number of a stored model"),
        ("lenett", "did you mean"),
    ):
        assert main([*attack, "--model", model, "--out", str(tmp_path / "no")]) == 1
        assert sentence in capsys.readouterr().err
    with (tmp_path / "victim" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert main([*attack, "--model", str(tmp_path / "victim"), "--out", str(tmp_path / "no")]) == 1
    assert "is not the file that model.json is of" in capsys.readouterr().err
