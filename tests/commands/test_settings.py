"""`python -m core settings` on a filled store."""

import csv
from pathlib import Path

import pytest

from core.__main__ import main
from core.settings import load_settings
from core.storage.store import open_store
from tests.filled_settings import fill_settings


def test_the_table_on_a_terminal_and_as_csv(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings"]) == 0
    assert "No setting has been attacked yet" in capsys.readouterr().out
    store = open_store(load_settings())
    filled = fill_settings(store, amounts=(0.1, 0.4, 0.6, 0.9))
    target = tmp_path / "settings.csv"
    assert main(["settings", "--campaign", str(filled.campaign), "--csv", str(target), "--metrics", "mse,psnr"]) == 0
    told = capsys.readouterr().out
    first = next(line for line in told.splitlines() if line.startswith("lenet · none"))
    assert "90 %" in first
    assert "100 % (1)" in first
    assert "leaks: 4 of 4 by people" in first
    assert "lenet · ats 43-18-18" in told
    assert "waiting" in told
    assert "The device ran out of memory" in told
    assert "τ-b +1.00 (p 0.083)" in told  # 2 of 24 orders of four settings
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["mse_rank"] for row in rows] == ["1", "2", "3", "4", "", "", ""]
    assert rows[0]["verdict"] == "leaks"


def test_what_there_is_not_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--campaign", "7"]) == 1
    assert "There is no campaign 7 in this store" in capsys.readouterr().err
    assert main(["settings", "--metrics", "pnsr"]) == 1  # nothing is scored yet, and the name is wrong all the same
    assert "no metric called 'pnsr'; did you mean psnr" in capsys.readouterr().err
    assert main(["settings", "--metrics", "psnr,fid"]) == 0
    assert "No setting has been attacked yet" in capsys.readouterr().out
    fill_settings(open_store(load_settings()), amounts=(0.5,), answers=False)
    assert main(["settings", "--metrics", "pnsr"]) == 1
    assert "psnr" in capsys.readouterr().err
