"""Tables from users and to them: BAD_INPUTS.md 34 and 36."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UserError
from core.tables import SpecialCounts, read_table, restore_cell, safe_cell, special_values, write_csv

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠x"]


@pytest.mark.parametrize("text", FORMULAS, ids=lambda text: f"bad-input-34-{text[:2]!a}")
def test_a_text_that_starts_a_formula_is_neutralised_and_comes_back(text: str) -> None:
    frame = pd.DataFrame({"name": [text, "'" + text], text: ["a", "b"]})
    written = write_csv(frame)
    cells = [cell for row in csv.reader(io.StringIO(written.decode(), newline="")) for cell in row]
    assert len(cells) == 6
    assert not any(cell.startswith(tuple("=+-@\t\r\n＝＋－＠")) for cell in cells)
    back = read_table(written, required=["name"])
    assert back["name"].tolist() == [text, "'" + text]
    if not text[0].isspace():  # white space around a column's name is cut off
        assert list(back.columns) == ["name", text]


def test_bad_input_34_numbers_and_plain_texts_are_left_alone() -> None:
    frame = pd.DataFrame({"name": ["face", "'tis", "a=b", ""], "psnr": [-1.5, 1e-30, 3.0, -0.0], "n": [-1, 2, 3, 4]})
    assert write_csv(frame).decode() == "name,psnr,n\r\nface,-1.5,-1\r\n'tis,1e-30,2\r\na=b,3.0,3\r\n,-0.0,4\r\n"


@given(st.text())
def test_restore_is_the_inverse_of_safe(text: str) -> None:
    assert restore_cell(safe_cell(text)) == text
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.floats()), min_size=1, max_size=8))
def test_every_table_comes_back_to_the_last_bit(rows: list[tuple[str, float]]) -> None:
    frame = pd.DataFrame({"text": [text for text, _ in rows], "value": [value for _, value in rows]})
    back = read_table(write_csv(frame), required=["text", "value"], numeric=["value"])
    assert back["text"].tolist() == frame["text"].tolist()
    assert np.array_equal(back["value"].to_numpy(), frame["value"].to_numpy(), equal_nan=True)


def refusal(data: bytes | Path, **options: object) -> str:
    arguments = {"required": ["name", "psnr"], "numeric": ["psnr"], "name": "study.csv", **options}
    with pytest.raises(UserError) as caught:
        read_table(data, **arguments)
    sentence = str(caught.value)
    assert sentence.startswith("study.csv ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


REFUSED = {
    "missing-column": (b"name,psrn\na,1\n", "no column 'psnr'; the nearest is 'psrn'"),
    "missing-column-far": (b"x,y\na,1\n", "no column 'name'; it has 'x', 'y'"),
    "text-for-number": (b"name,psnr\na,1\nb,good\n", "'good' in column 'psnr' of row 3"),
    "decimal-comma": (b'name,psnr\na,"1,5"\n', "write it with a point"),
    "underscore": (b"name,psnr\na,1_000\n", "'1_000' in column 'psnr' of row 2"),
    "too-large-for-a-float": (b"name,psnr\na,1e999\n", "'1e999' in column 'psnr' of row 2"),
    "markup-for-number": (b"name,psnr\na,<script>\n", "'<script>' in column"),
    "wrong-encoding": ("name,psnr\nJosé,1\n".encode("latin-1"), "not in UTF-8: byte 0xe9"),
    "utf-16": ("name,psnr\na,1\n".encode("utf-16"), "is in UTF-16"),
    "spreadsheet": (b"PK\3\4" + bytes(30), "a spreadsheet or a zip file"),
    "column-twice": (b"name,psnr,name\na,1,b\n", "the column 'name' twice"),
    "empty": (b"", "is empty"),
    "ragged-long": (b"name,psnr\na,1,2\n", "3 cells in row 2, where its header has 2"),
    "ragged-short": (b"name,psnr\na\n", "1 cells in row 2, where its header has 2"),
    "open-quote": (b'name,psnr\n"a,1\n', "no CSV at line 2"),
    "giant-cell": (b"name,psnr\n" + b"a" * 120_000 + b",1\n", "over 100,000 characters"),
    "many-columns": (b"name,psnr," + b",".join(b"c%d" % i for i in range(1000)) + b"\n", "1,002 columns"),
    "binary": (np.random.default_rng(0).bytes(3000), "study.csv "),
}


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: f"bad-input-36-{name}")
def test_bad_table_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    data, words = REFUSED[name]
    assert words in refusal(data)
    path = tmp_path / "upload"
    path.write_bytes(data)
    assert words in refusal(path)


def test_bad_input_36_ten_million_rows_are_refused_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "upload"
    with path.open("wb") as file:
        file.write(b"name,psnr\n")
        for _ in range(10):
            file.write(b"a,1\n" * 1_000_000)
    monkeypatch.setattr("core.tables._rows", lambda *_: pytest.fail("rows were read"))
    assert "about 10,000,000 rows, where at most 1,000,000" in refusal(path)


def test_bad_input_36_the_limit_is_exact() -> None:
    data = b"name,psnr\n" + b"a,1\n" * 5
    assert len(read_table(data, required=["name"], max_rows=5)) == 5
    assert "about 5 rows" in refusal(data, max_rows=4)
    assert "more than 4 rows" in refusal(data.rstrip(b"\n"), max_rows=4)
    assert "more than 4 rows" in refusal(data.replace(b"\n", b"\r"), max_rows=4)


def test_bad_input_36_nan_and_infinities_are_kept_and_counted() -> None:
    cells = ["", "NaN", "n/a", "null", "inf", "+Infinity", "∞", "-inf", "−1.5", " 2 ", "1e3"]
    data = "psnr,name\n" + "".join(f"{cell},x\n" for cell in cells)
    frame = read_table(data.encode(), required=["psnr"], numeric=["psnr", "absent"])
    values = frame["psnr"].tolist()
    assert frame["psnr"].dtype == np.float64
    assert all(math.isnan(value) for value in values[:4])
    assert values[4:] == [math.inf, math.inf, math.inf, -math.inf, -1.5, 2.0, 1000.0]
    assert special_values(frame, ["psnr"]) == {"psnr": SpecialCounts(4, 3, 1)}


def test_byte_order_mark_crlf_quotes_and_blank_lines() -> None:
    data = '\ufeffname , psnr\r\n"a, ""b""\nc",1\r\n\r\nÄ,2\r\n'.encode()
    frame = read_table(data, required=["name", "psnr"], numeric=["psnr"])
    assert frame.to_dict("list") == {"name": ['a, "b"\nc', "Ä"], "psnr": [1.0, 2.0]}


def test_a_header_alone_is_an_empty_table() -> None:
    frame = read_table(b"name,psnr\n", required=["name"], numeric=["psnr"])
    assert len(frame) == 0
    assert frame["psnr"].dtype == np.float64


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "no file that can be read" in refusal(tmp_path / "gone.csv")


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(alphabet='name,psnr"\r\n1.5-=', max_size=80).map(str.encode)))
def test_random_bytes_give_a_table_or_a_user_error(data: bytes) -> None:
    try:
        frame = read_table(data, required=[], numeric=["psnr"], name="study.csv")
    except UserError as error:
        frame, sentence = None, str(error)
    assert sentence.startswith("study.csv ") if frame is None else isinstance(frame, pd.DataFrame)
