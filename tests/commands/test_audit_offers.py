"""Nothing that is offered is untested: every attack on every kind of update that it takes, and every defence, is
launched by the command line on a tiny model and ends with exit status 0."""

import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.attacks import ATTACKS
from core.attacks.base import Attack
from core.leakage.defences import DEFENCES

MLP = ["--model", "mlp", "--size", "8"]
WITH_BATCHNORM = ["--model", "convnet-narrow", "--size", "16"]
PAIRS = [(name, update) for name, attack in ATTACKS.items() for update in attack.updates]


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Nothing of the machine's own home is read or written."""


def launch(out: Path, attack: Attack, update: str, *more: str) -> dict[str, object]:
    """Two photographs of 8 pixels, two steps at most, one control of each kind; the run.json."""
    settings = {"restarts": "1", **({attack.effort: "2"} if attack.effort else {})}
    known = [f"{name}={value}" for name, value in settings.items() if hasattr(attack.config, name)]
    model = WITH_BATCHNORM if getattr(attack.config, "batchnorm", 0) else MLP  # what its BatchNorm prior needs
    flags = ["--images", "photos", "--limit", "2", "--controls", "1", "--device", "cpu", "--out", str(out)]
    chosen = ["--attack", attack.name, "--update", update, *(part for pair in known for part in ("--set", pair))]
    assert main(["audit", *model, *flags, *chosen, *more]) == 0
    return json.loads((out / "run.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "update"), PAIRS)
def test_every_attack_runs_on_every_update_that_it_takes(name: str, update: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    run = launch(tmp_path / "out", attack, update)
    assert run["threat_model"]["update"] == update
    assert set(run["status"]) == {image["name"] for image in run["images"]} or attack.model_only
    assert list((tmp_path / "out" / "reconstructions").glob("*.png"))
    made = {shard["role"] for shard in run["shards"]}
    assert made >= {"attack", *attack.controls}


@pytest.mark.parametrize("name", DEFENCES)
@pytest.mark.parametrize("told", [True, False])
def test_every_defence_runs(name: str, told: bool, tmp_path: Path) -> None:
    flags = ["--defence", name, "--batch-size", "2", *([] if told else ["--not-adaptive"])]
    run = launch(tmp_path / "out", ATTACKS["inverting-gradients"], "gradients", *flags)
    assert [one["name"] for one in run["threat_model"]["defences"]] == [name]
    assert run["threat_model"]["adaptive"] is told
    assert "easy" in {shard["role"] for shard in run["shards"]}  # the undefended case beside it


@pytest.mark.parametrize("defence", [name for name in DEFENCES if name != "dp-sgd"])
def test_every_defence_but_dp_sgd_runs_on_fedavg(defence: str, tmp_path: Path) -> None:
    flags = ["--defence", defence, "--batch-size", "2", "--local-epochs", "2"]
    run = launch(tmp_path / "out", ATTACKS["inverting-gradients"], "weights", *flags)
    assert run["threat_model"]["local_epochs"] == 2
