"""Tables that people bring: what is read, and one sentence for what is not."""

import json

import numpy as np
import pandas as pd
import pytest

from core.errors import UserError
from core.statistics.human_table import correlate_table, parse_table


def table(**columns: list) -> pd.DataFrame:
    """Six rows: two originals in three settings, three annotators, one metric; None drops a column."""
    base: dict[str, list | None] = {
        "config": ["a", "a", "b", "b", "c", "c"],
        "image_id": [1, 2, 1, 2, 1, 2],
        "true_class": [5, 6, 5, 6, 5, 6],
        "annotator_1": [5, 6, 5, 6, -1, 6],
        "annotator_2": [5, -1, 5, 6, -1, -1],
        "annotator_3": [5, -1, -1, 6, -1, 2],
        "psnr": [20.0, 11, 15, 19, 9, 12],
    }
    return pd.DataFrame({k: v for k, v in (base | columns).items() if v is not None})


def test_a_small_table_by_hand() -> None:
    # rates: 1, 1/3, 2/3, 1, 0, 1/3
    study = parse_table(table())
    assert study.rate == pytest.approx([1, 1 / 3, 2 / 3, 1, 0, 1 / 3])
    assert study.recognisable.tolist() == [1, 0, 1, 1, 0, 0]
    result = correlate_table(table(), resamples=10)
    assert result["image_level"]["psnr"]["auc"]["estimate"] == 1.0
    assert result["within_original"]["psnr"]["pairwise_accuracy"]["estimate"] == pytest.approx(1.0)
    assert result["within_original"]["psnr"]["pairwise_accuracy"]["n"] == 5  # 3 of original 1, 2 of original 2


def test_cells_may_be_text_that_is_a_number() -> None:
    text = table().astype(str)
    text.loc[0, "psnr"] = " inf "
    text.loc[1, "psnr"] = ""
    text.loc[2, "annotator_3"] = ""
    study = parse_table(text)
    assert study.metrics["psnr"][0] == np.inf
    assert np.isnan(study.metrics["psnr"][1])
    assert np.isnan(study.recognised[2, 2])
    assert study.rate[2] == 1.0


def test_infinities_are_values_and_nan_is_counted() -> None:
    result = correlate_table(table(psnr=[np.inf, 11, np.nan, 19, -np.inf, 12]), resamples=10)
    assert (result["n"], result["unscored"]) == (6, 1)
    leaf = result["image_level"]["psnr"]["spearman"]
    assert (leaf["n"], leaf["unscored"]) == (5, 1)
    json.dumps(result, allow_nan=False)


def test_rows_without_answers_are_not_counted() -> None:
    frame = table(annotator_1=[5, 6, 5, 6, None, 6], annotator_2=[5, -1, 5, 6, None, 1],
                  annotator_3=[5, 1, 1, 6, None, 2])  # fmt: skip
    assert correlate_table(frame, resamples=0)["n"] == 5


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"config": None}, "no column 'config'"),
        ({"image_id": None}, "no column 'image_id'"),
        ({"true_class": None}, "no column 'true_class'"),
        ({"annotator_1": None}, "no column 'annotator_1'"),
        ({"annotator_2": None}, "no column 'annotator_2' but a later one"),
        ({"psnr": None}, "no metric column"),
        (
            {"psnr": [20.0, 11, "loud", 19, 9, 12]},
            "'psnr' must hold numbers, but row 4 (the header is row 1) holds 'loud'",
        ),
        ({"psnr": [True] * 6}, "'psnr' must hold numbers"),
        ({"psnr": ["=1+1"] * 6}, "row 2"),
        ({"annotator_2": [5, "cat", 5, 6, -1, -1]}, "'annotator_2' must hold numbers, but row 3"),
        ({"annotator_2": [5, 1.5, 5, 6, -1, -1]}, "a class number, but row 3 (the header is row 1) holds '1.5'"),
        ({"annotator_2": [5, -2, 5, 6, -1, -1]}, "row 3"),
        ({"annotator_2": [5, np.inf, 5, 6, -1, -1]}, "row 3"),
        ({"true_class": [5, 6, 5, 6, 5, None]}, "'true_class' must hold a class number from 0 on, but row 7"),
        ({"true_class": [5, 6, 5, 6, 5, -1]}, "row 7"),
        ({"config": ["a", "a", "", "b", "c", "c"]}, "'config' is empty in row 4"),
        ({"image_id": [1, 2, None, 2, 1, 2]}, "'image_id' is empty in row 4"),
        ({"loudness": [1.0] * 6}, "Nothing is known of the metric column 'loudness'"),
        ({f"annotator_{i}": [None] * 6 for i in (1, 2, 3)}, "nobody has labelled"),
    ],
)
def test_faults_in_one_sentence(columns: dict, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_table(table(**columns))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)  # flags are the command's own words


def test_too_many_rows_and_no_rows() -> None:
    with pytest.raises(UserError, match="no rows"):
        parse_table(table().iloc[:0])
    many = pd.concat([table()] * 34_000)
    with pytest.raises(UserError, match="204,000 rows; at most 200,000"):
        parse_table(many)


def test_too_many_settings() -> None:
    rows = 201
    frame = pd.concat([table().iloc[:1]] * rows).assign(config=range(rows))
    with pytest.raises(UserError, match="201 settings; at most 200"):
        parse_table(frame)


def test_too_many_reconstructions_of_one_original() -> None:
    many = pd.concat([table()] * 300).assign(image_id=1)  # 1,800 rows: 1,619,100 pairs
    with pytest.raises(UserError, match="1,800 reconstructions of one original"):
        parse_table(many)


def test_a_column_twice() -> None:
    frame = table()
    frame.insert(3, "psnr ", 1.0)
    with pytest.raises(UserError, match="'psnr' comes twice"):
        parse_table(frame)


def test_a_direction_can_be_given() -> None:
    frame = table(loudness=[1.0, 9, 5, 2, 11, 8])
    with_it = correlate_table(frame, resamples=0, directions={"loudness": "lower"})
    assert with_it["image_level"]["loudness"]["auc"]["estimate"] == 1.0


def test_degenerate_tables_give_reasons_and_no_warning() -> None:
    one_setting = correlate_table(table(config=["a"] * 6), resamples=10)
    leaf = one_setting["setting_level"]["psnr"]["spearman"]
    assert leaf["estimate"] is None
    assert leaf["reason"] == "needs at least 3 settings, got 1"
    assert leaf["p"] is None
    constant = correlate_table(table(psnr=[7.0] * 6), resamples=10)
    assert "equal" in constant["image_level"]["psnr"]["spearman"]["reason"]
    assert constant["image_level"]["psnr"]["auc"]["estimate"] == 0.5
    nobody = correlate_table(table(**{f"annotator_{i}": [-1] * 6 for i in (1, 2, 3)}), resamples=10)
    assert nobody["image_level"]["psnr"]["auc"]["reason"] == "no scored row is recognisable"
    assert nobody["agreement"]["fleiss_kappa"]["reason"] == "all answers are the same"
    assert nobody["human_reference"]["one_against_rest"]["estimate"] is None
    alone = correlate_table(table(annotator_2=None, annotator_3=None), resamples=10)
    assert alone["human_reference"]["split_half"]["reason"] == "needs at least 2 annotators"
    assert alone["agreement"]["fleiss_kappa"]["estimate"] is None
    unscored = correlate_table(table(psnr=[None] * 6), resamples=10)
    assert unscored["image_level"]["psnr"]["spearman"]["estimate"] is None
    for result in (one_setting, constant, nobody, alone, unscored):
        json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(("resamples", "seed"), [(-1, 0), (1, 0), (10**9, 0), (10, -1)])
def test_resamples_and_seed_are_checked(resamples: int, seed: int) -> None:
    with pytest.raises(UserError, match="must be 0"):
        correlate_table(table(), resamples=resamples, seed=seed)


def test_missing_answers_reach_every_part() -> None:
    rng = np.random.default_rng(1)
    rows = 60
    frame = pd.DataFrame(
        {"config": rng.choice(list("abc"), rows), "image_id": rng.integers(0, 15, rows), "true_class": 3}
    )
    for i in range(1, 5):
        frame[f"annotator_{i}"] = np.where(rng.random(rows) < 0.2, np.nan, rng.choice([3, -1], rows))
    frame["lpips"] = rng.normal(size=rows)
    result = correlate_table(frame, resamples=30)
    reference = result["human_reference"]
    for name in ("split_half", "one_against_rest"):
        assert reference[name]["low"] < reference[name]["estimate"] < reference[name]["high"]
    assert reference["cronbach_alpha"]["unscored"] > 0
    leaf = reference["metric_against_rest"]["lpips"]
    assert leaf["low"] < leaf["estimate"] < leaf["high"]
