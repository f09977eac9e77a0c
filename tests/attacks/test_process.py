"""Proof that an attack cannot see the original: a bare process with a reloaded observation gives the same bytes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.attacks import ATTACKS, configure
from tests.attacks.conftest import LENET

ROOT = Path(__file__).resolve().parents[2]
QUICK = {  # a few steps of each; every registered attack must be here
    "dlg": {"iterations": 6},
    "idlg": {"iterations": 6},
    "dlg-paper": {"steps": 1, "evaluations": 4},
    "idlg-paper": {"steps": 1, "evaluations": 4},
    "inverting-gradients": {"steps": 4},
    "inverting-gradients-paper": {"steps": 4},
    "inverting-gradients-large": {"steps": 4},
}
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import hashlib, json, pathlib, torch
torch.set_num_threads(1)
from core.attacks import ATTACKS, configure
from core.leakage.observation import Observation
observation = Observation.from_bytes(sys.stdin.buffer.read())
for name, settings in json.loads(sys.argv[2]).items():
    found = ATTACKS[name].reconstruct(observation, configure(name, settings), seed=4)
    print(name, hashlib.sha256(found.images.tobytes() + found.losses.tobytes()).hexdigest())
print(sorted(path.name for path in pathlib.Path.home().iterdir()), sorted(p.name for p in pathlib.Path.cwd().iterdir()))
"""


def test_every_attack_gives_the_same_bytes_in_an_empty_home(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import json

    assert set(QUICK) == set(ATTACKS)
    observation, _, _ = make(LENET, 2)
    expected = {}
    for name, settings in QUICK.items():
        found = ATTACKS[name].reconstruct(observation, configure(name, settings), seed=4)
        expected[name] = hashlib.sha256(found.images.tobytes() + found.losses.tobytes()).hexdigest()
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    answer = subprocess.run(
        [sys.executable, "-I", "-B", "-c", SCRIPT, str(ROOT), json.dumps(QUICK)],
        input=observation.to_bytes(),
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
