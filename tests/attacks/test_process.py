"""Proof that an attack cannot see the original: a bare process with a reloaded observation gives the same bytes."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from core.attacks import ATTACKS, configure
from core.leakage.observation import Observation
from core.leakage.threat import ThreatModel
from core.leakage.victim import observe, observe_nothing
from core.models.build import build_model
from core.models.spec import ModelSpec
from tests.attacks.conftest import LENET

ROOT = Path(__file__).resolve().parents[2]
MLP = ModelSpec("mlp", 4, height=8, width=8, arguments={"hidden": [16]})
NORMED = ModelSpec("convnet", 4, height=9, width=9, arguments={"base": 2})
FEDAVG = ThreatModel(batch_size=2, update="weights", local_epochs=2)
QUICK: dict[str, tuple[str, dict[str, object]]] = {  # an observation and a few steps; every registered attack is here
    "dlg": ("lenet", {"iterations": 6}),
    "idlg": ("lenet", {"iterations": 6}),
    "dlg-paper": ("lenet", {"steps": 1, "evaluations": 4}),
    "idlg-paper": ("lenet", {"steps": 1, "evaluations": 4}),
    "inverting-gradients": ("lenet", {"steps": 4}),
    "inverting-gradients-paper": ("lenet", {"steps": 4}),
    "inverting-gradients-large": ("lenet", {"steps": 4}),
    "analytic": ("mlp", {}),
    "imprint": ("imprint", {}),
    "gradinversion": ("normed", {"steps": 4}),
    "gradinversion-paper": ("normed", {"steps": 4}),
    "huang-bn": ("normed", {"steps": 4}),
    "huang-bn-paper": ("normed", {"steps": 4}),
    "cpl-sapag": ("lenet", {"steps": 4}),
    "modern": ("lenet", {"steps": 4}),
    "modern-long": ("lenet", {"steps": 4}),
    "mi-face": ("nothing", {"steps": 4}),
    "deep-inversion": ("nothing", {"steps": 4}),
    "fedavg-simulated": ("fedavg", {"steps": 4}),
    "sme": ("fedavg", {"steps": 4}),
}
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import base64, hashlib, json, pathlib, torch
torch.set_num_threads(1)
from core.attacks import ATTACKS, configure
from core.leakage.observation import Observation
given = {name: Observation.from_bytes(base64.b64decode(text)) for name, text in json.load(sys.stdin).items()}
for name, (which, settings) in json.loads(sys.argv[2]).items():
    found = ATTACKS[name].reconstruct(given[which], configure(name, settings), seed=4)
    print(name, hashlib.sha256(found.images.tobytes() + found.losses.tobytes()).hexdigest())
print(sorted(path.name for path in pathlib.Path.home().iterdir()), sorted(p.name for p in pathlib.Path.cwd().iterdir()))
"""


def _given(make) -> dict[str, Observation]:  # type: ignore[no-untyped-def]
    model = build_model(NORMED)
    nothing = observe_nothing(model, NORMED, torch.tensor([[0], [1]]), ThreatModel(update="none"))
    prepare = ATTACKS["imprint"].prepare
    assert prepare is not None
    sent, weights = prepare(LENET, build_model(LENET).state_dict(), ATTACKS["imprint"].config, 0)
    images = torch.from_numpy(np.random.default_rng(0).random((2, 1, 3, 8, 8), dtype=np.float32))
    imprinted, _ = observe(build_model(sent, weights), sent, images, torch.tensor([[0], [1]]), ThreatModel())
    return {
        "lenet": make(LENET, 2)[0],
        "mlp": make(MLP, 2)[0],
        "normed": make(NORMED, 2)[0],
        "fedavg": make(MLP, 2, FEDAVG)[0],
        "nothing": nothing,
        "imprint": imprinted,
    }


def test_every_attack_gives_the_same_bytes_in_an_empty_home(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert set(QUICK) == set(ATTACKS)
    given = _given(make)
    expected = {}
    for name, (which, settings) in QUICK.items():
        found = ATTACKS[name].reconstruct(given[which], configure(name, settings), seed=4)
        expected[name] = hashlib.sha256(found.images.tobytes() + found.losses.tobytes()).hexdigest()
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    sent = {name: base64.b64encode(observation.to_bytes()).decode() for name, observation in given.items()}
    answer = subprocess.run(
        [sys.executable, "-I", "-B", "-c", SCRIPT, str(ROOT), json.dumps(QUICK)],
        input=json.dumps(sent).encode(),
        capture_output=True,
        cwd=work,
        env=environment,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr.decode()
    lines = answer.stdout.decode().splitlines()
    assert dict(line.split() for line in lines[:-1]) == expected
    assert lines[-1] == "[] []"  # nothing was there, and nothing was left


@pytest.mark.parametrize("module", ["core.attacks", "core.leakage.controls", "core.leakage.pairing"])
def test_records_and_configs_import_no_torch(module: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-I", "-B", "-c", code], check=False).returncode == 0
