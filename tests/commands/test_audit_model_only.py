"""`audit` with an attack on the model alone: nothing is shared, and each image goes to the nearest of its class."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.__main__ import main


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Nothing of the machine's own home is read or written."""


def test_it_shares_nothing_and_names_the_nearest_original(tmp_path: Path) -> None:
    for place, (label, level) in enumerate([("a", 0), ("a", 120), ("b", 140)]):  # the start is 128: 140 is b's alone
        folder = tmp_path / "in" / label
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(place).integers(0, 8, (8, 8, 3))
        Image.fromarray((level + noise).astype(np.uint8)).save(folder / f"p{place}.png")
    flags = ["--model", "mlp", "--size", "8", "--num-classes", "2", "--images", str(tmp_path / "in"), "--device", "cpu"]
    attack = ["--attack", "mi-face", "--set", "steps=3", "--controls", "1"]
    assert main(["audit", *flags, *attack, "--out", str(tmp_path / "out")]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["threat_model"]["update"] == "none"
    dark, grey, other = "p0", "p1", "p2"
    assert run["pairing"] == {"method": "nearest", "cost": "mse", "originals": {dark: grey, grey: grey, other: other}}
    assert sorted(run["controls"]) == ["mismatched", "prior"]
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8") as file:
        mse = {row["name"]: row["mse"] for row in csv.DictReader(file)}
    assert set(mse) == {dark, grey, other}
    assert mse[dark] == mse[grey]  # one class, one picture, one nearest original
    made = np.asarray(Image.open(tmp_path / "out" / "reconstructions" / f"{dark}.png"), dtype=float) / 255
    level = np.asarray(Image.open(tmp_path / "out" / "originals" / f"{grey}.png"), dtype=float) / 255
    assert float(mse[dark]) == pytest.approx(float(((made - level) ** 2).mean()), rel=1e-5)
