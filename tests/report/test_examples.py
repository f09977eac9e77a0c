"""The worked example: the same pictures everywhere, real reconstructions of those very originals, ranks by hand."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from core.errors import UserError
from core.metrics.base import Score
from core.metrics.registry import METRICS
from core.metrics.scoring import score_pairs
from core.report.examples import ATTACKED, BASES, DIMMED, EXAMPLES, SEEN, SHIFT, SIDE, base, examples, original
from core.report.ranks import compared, departures, dispute, rank_table
from core.settings import load_settings

NAMES = [one.picture for one in BASES]


def by_key(name: str) -> dict[str, np.ndarray]:
    return {one.key: one.pixels for one in examples(name)}


@pytest.mark.parametrize("name", NAMES)
def test_every_version_is_a_picture_of_the_original_s_size(name: str) -> None:
    found = examples(name)
    assert len(found) == 12
    assert len({one.key for one in found}) == len({one.title for one in found}) == 12
    for one in found:
        assert one.pixels.shape == original(name).shape == (SIDE, SIDE, 3)
        assert one.pixels.dtype == np.uint8
        assert not np.array_equal(one.pixels, original(name)), one.key
    assert [one.seen for one in found] == sorted((one.seen for one in found), key=SEEN.index)
    assert {one.seen for one in found} == set(SEEN)


def test_damages_are_what_their_words_say() -> None:
    pixels, made = original("cat-1"), by_key("cat-1")
    assert np.array_equal(made["mirrored"][:, ::-1], pixels)
    assert np.array_equal(made["shifted"][SHIFT:, SHIFT:], pixels[:-SHIFT, :-SHIFT])
    assert np.abs(made["dimmed"] - DIMMED * pixels.astype(float)).max() <= 0.5
    assert np.array_equal(made["masked"][:, :16], pixels[:, :16])
    assert (made["masked"][:, 16:] == 128).all()
    assert np.abs(made["mean"][0, 0] - pixels.mean((0, 1))).max() <= 0.5
    assert (made["mean"] == made["mean"][0, 0]).all()
    noise = (made["noisy"].astype(float) - pixels)[(pixels > 90) & (pixels < 165)]  # where nothing is cut off
    assert noise.std() == pytest.approx(0.12 * 255, rel=0.05)
    flat = np.abs(np.diff(made["blurred"].astype(float), axis=1)).mean()
    assert flat < 0.5 * np.abs(np.diff(pixels.astype(float), axis=1)).mean()


def test_the_same_bytes_every_time() -> None:
    """Whole numbers and seeded noise; JPEG is the one step whose decoder may differ, so it is left out here."""
    digest = hashlib.sha256()
    for key, pixels in sorted(by_key("rocket-1").items()):
        if key != "jpeg" and not key.startswith("attack"):
            digest.update(pixels.tobytes())
    examples.cache_clear()
    again = hashlib.sha256()
    for key, pixels in sorted(by_key("rocket-1").items()):
        if key != "jpeg" and not key.startswith("attack"):
            again.update(pixels.tobytes())
    assert digest.hexdigest() == again.hexdigest()


def test_the_real_reconstructions_are_of_these_very_originals() -> None:
    record = json.loads((EXAMPLES / "examples.json").read_text(encoding="utf-8"))
    named = [
        (run["name"], picture, sha) for run in record["runs"] for picture, sha in run["original_pixels_sha256"].items()
    ]
    assert {(name, picture) for name, picture, _ in named} == {(a, p) for a in ATTACKED for p in NAMES}
    for name, picture, sha in named:
        assert hashlib.sha256(original(picture).tobytes()).hexdigest() == sha, (name, picture)
    files = {path.name for path in EXAMPLES.glob("*.png")}
    assert files == {f"{picture}-{name}.png" for picture in NAMES for name in ATTACKED}
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"*-{name}.png" in readme for name in ATTACKED)


@pytest.mark.parametrize("name", NAMES)
def test_the_attacks_differ_as_their_words_say(name: str, home: Path) -> None:
    """By PSNR: stopped early is nearest, then the noisy one; the failed one is far off."""
    made = by_key(name)
    found = score_pairs([original(name)] * 3, [made[f"attack-{a}"] for a in ATTACKED], ["psnr"], load_settings())
    early, noisy, failed = (score.value for score in found["psnr"])
    assert early is not None
    assert noisy is not None
    assert failed is not None
    assert early > 18
    assert early > noisy > 9
    assert early > failed


def test_an_unknown_picture_names_its_neighbours() -> None:
    with pytest.raises(UserError, match="did you mean cat-1"):
        base("cat-2")


# --- ranks ---------------------------------------------------------------------------------------------------
def scores(*values: float | None) -> list[Score]:
    return [Score(value, "" if value is not None else "too small") for value in values]


def test_ranks_follow_the_direction_and_ties_share_the_best() -> None:
    table = rank_table({"psnr": scores(10, math.inf, 20, 10), "mse": scores(0.1, 0.0, 0.01, 0.1)})
    # leaks most first: inf, 20, then twice 10, which share rank 3 and lie at place 3.5 of 4
    for cells in table.rows.values():
        assert [cell.rank for cell in cells] == [3, 1, 2, 3]
        assert [cell.place for cell in cells] == [3.5, 1, 2, 3.5]
        assert [cell.lead for cell in cells] == pytest.approx([1 - 2.5 / 3, 1, 1 - 1 / 3, 1 - 2.5 / 3])
    assert table.rows["psnr"][1].value == math.inf


def test_what_is_not_scored_has_no_rank() -> None:
    table = rank_table({"mse": scores(0.1, None, 0.2), "ms_ssim": scores(None, None, None)})
    assert [cell.rank for cell in table.rows["mse"]] == [1, None, 2]
    assert table.rows["mse"][1].reason == "too small"
    assert dict(table.unscored) == {"ms_ssim": "too small"}
    assert "ms_ssim" not in table.rows


def test_departures_by_hand() -> None:
    """Ranks: mse 1 2 3 4, mae 1 2 3 4, ssim 4 2 3 1. For ssim the others' medians are 1 2 3 4: it departs by 3 on the
    first and the last. For mse they are the medians of (1, 4), 2, 3 and (4, 1): 2.5 2 3 2.5, departures of 1.5 only."""
    table = rank_table({"mse": scores(1, 2, 3, 4), "mae": scores(1, 2, 3, 4), "ssim": scores(0.1, 0.3, 0.2, 0.4)})
    titles = ["first", "second", "third", "last"]
    found = departures(table, "ssim", titles)
    assert [(one.index, one.rank, one.others) for one in found] == [(0, 4, 1), (3, 1, 4)]
    assert found[0].words == "first: it says that less leaks than the others do; rank 4 of 4, theirs 1."
    assert found[1].words == "last: it says that more leaks than the others do; rank 1 of 4, theirs 4."
    assert departures(table, "mse", titles) == ()
    assert departures(table, "psnr", titles) == ()
    assert departures(rank_table({"mse": scores(1, 2)}), "mse", titles) == ()


def test_the_dispute_names_the_picture_and_both_ends() -> None:
    table = rank_table({"mse": scores(1, 2, 3), "ssim": scores(0.1, 0.3, 0.2)})
    assert dispute(table, ["one", "two", "three"]) == "They differ most over “one”: MSE ranks it 1 of 3, SSIM 3."
    assert dispute(rank_table({"mse": scores(1, 2), "mae": scores(1, 2)}), ["one", "two"]) == ""
    assert dispute(rank_table({}), []) == ""


def test_only_metrics_of_leakage_are_compared() -> None:
    names = compared(list(METRICS))
    assert "psnr" in names
    assert not [name for name in names if METRICS[name].diagnostic or METRICS[name].kind != "pair"]


def test_the_shift_is_what_the_page_says_of_it(home: Path) -> None:
    """PSNR puts the shifted cat behind its mean colour, of which nobody recognises anything."""
    made = by_key("cat-1")
    found = score_pairs([original("cat-1")] * 2, [made["shifted"], made["mean"]], ["psnr"], load_settings())["psnr"]
    assert found[0].value is not None
    assert found[1].value is not None
    assert found[0].value < found[1].value
