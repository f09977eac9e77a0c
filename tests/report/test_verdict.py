"""Verdicts with their derivation beside them."""

import math

import pytest

from core.report.verdict import CONTROL_ROLES, verdict
from core.report.verdict_records import Evidence, Threshold
from core.report.verdict_words import NO_CONTROL

PSNR = Threshold("psnr", "PSNR", 20.0, "higher", "dB")
LPIPS = Threshold("lpips_alex", "LPIPS", 0.2, "lower")


def attacked(*scores, start=1, **rest):
    return [
        Evidence(reconstruction=i, original=i, name=f"o{i}", role="attack", score=score, **rest)
        for i, score in enumerate(scores, start)
    ]


def control(role, *scores):
    return [
        Evidence(reconstruction=900 + i, original=i, name=f"o{i}", role=role, score=s) for i, s in enumerate(scores, 1)
    ]


def answered(original, recognised, answers, score=10.0):
    return Evidence(original, original, f"o{original}", "attack", score, recognised, answers)


LOW_CONTROLS = control("mismatched", 6.0, 7.0) + control("prior", 5.0, 6.5)


def test_by_threshold_counts_what_crosses_it_with_a_wilson_interval():
    found = verdict(attacked(52.0, 20.0, 19.999, 8.0) + LOW_CONTROLS, PSNR)
    assert (found.outcome, found.basis, found.leaked, found.judged) == ("leaks", "threshold", 2, 4)  # 52 and 20 itself
    # Wilson with z = 1.959964, k = 2, n = 4: centre 1/2 by symmetry; half width
    # z/(1+z²/n) · sqrt(p(1-p)/n + z²/4n²) = 1.959964/1.960365 · sqrt(.0625 + .060023) = .349964
    assert found.interval.low == pytest.approx(0.5 - 0.349964, abs=2e-4)
    assert found.interval.high == pytest.approx(0.5 + 0.349964, abs=2e-4)
    assert found.headline == "2 of 4 originals scored PSNR ≥ 20 dB"
    assert any("threshold is a convention" in note for note in found.notes)


def test_lower_is_more_leakage_turns_everything_round():
    controls = control("mismatched", 0.7) + control("prior", 0.6)
    found = verdict(attacked(0.1, 0.2, 0.5) + controls, LPIPS)
    assert (found.outcome, found.leaked, found.judged) == ("leaks", 2, 3)
    assert found.headline == "2 of 3 originals scored LPIPS ≤ 0.2"
    assert [e.score for e in found.worst] == [0.1, 0.2, 0.5]


def test_people_outrank_scores_and_fewer_than_three_answers_leave_an_original_out():
    # o1: 2 of 3 recognise, above one half. o2: 2 of 4 is not above one half. o3: 2 answers only, undetermined.
    rows = [answered(1, 2, 3, score=7.0), answered(2, 2, 4, score=50.0), answered(3, 2, 2)]
    found = verdict(rows + control("mismatched", 6.0) + control("prior", 5.0), PSNR)
    assert (found.basis, found.leaked, found.judged, found.undetermined) == ("people", 1, 2, 1)
    assert found.headline == "1 of 2 originals recognised by people"
    assert "1 of 3 originals have fewer than 3 answers." in found.notes


def test_few_answers_are_called_provisional():
    found = verdict([answered(1, 1, 1, 30.0), answered(2, 0, 1), *LOW_CONTROLS], PSNR)
    assert (found.basis, found.leaked, found.judged) == ("few answers", 1, 2)
    assert any(note.startswith("Provisional") for note in found.notes)


@pytest.mark.parametrize("role", CONTROL_ROLES)
def test_a_control_that_scores_like_the_attack_makes_it_inconclusive(role):
    # The leaked originals score 52 and 24: their median is 38. A control at 38 reaches it, one at 37.9 does not.
    other = next(r for r in CONTROL_ROLES if r != role)
    rows = attacked(52.0, 24.0, 9.0) + control(other, 6.0)
    failing = verdict(rows + control(role, 5.0, 38.0), PSNR)
    holding = verdict(rows + control(role, 5.0, 37.9), PSNR)
    assert (failing.outcome, holding.outcome) == ("inconclusive", "leaks")
    assert failing.headline.startswith("Inconclusive: the control with")
    assert "2 of 3 originals" in failing.headline


def test_where_nothing_leaked_controls_are_held_against_all_originals():
    # Median of 6, 8, 10 is 8: a prior alone at 8.5 does as well as the attack, so "0 of 3" would say too much.
    rows = attacked(6.0, 8.0, 10.0) + control("mismatched", 4.0)
    assert verdict(rows + control("prior", 8.5), PSNR).outcome == "inconclusive"
    assert verdict(rows + control("prior", 7.5), PSNR).outcome == "nothing shown"


def test_a_control_that_people_recognise_fails_whatever_its_score():
    seen = Evidence(900, 1, "o1", "prior", 1.0, recognised=1, answers=1)
    found = verdict([*attacked(52.0), *control("mismatched", 2.0), seen], PSNR)
    assert found.outcome == "inconclusive"
    assert "people recognise" in found.headline


def test_an_easy_case_that_shows_nothing_leaves_a_failure_open():
    rows = attacked(6.0, 8.0, 10.0) + control("mismatched", 4.0) + control("prior", 5.0)
    fails, works = verdict(rows + control("easy", 19.9, 7.0), PSNR), verdict(rows + control("easy", 20.0, 7.0), PSNR)
    assert (fails.outcome, works.outcome) == ("inconclusive", "nothing shown")
    assert "easy case either" in fails.headline
    assert any("stops this attack" in note for note in works.notes)
    assert not any("stops this attack" in note for note in verdict(rows, PSNR).notes)  # none was run


def test_an_easy_case_that_shows_nothing_takes_no_leak_back():
    rows = attacked(52.0, 8.0) + LOW_CONTROLS
    found = verdict(rows + control("easy", 5.0), PSNR)
    assert (found.outcome, found.leaked) == ("leaks", 1)
    assert [(c.role, c.failed, c.reaches) for c in found.controls][-1] == ("easy", True, True)


def test_an_easy_case_that_people_recognise_works_whatever_its_score():
    rows = attacked(6.0) + control("mismatched", 4.0) + control("prior", 5.0)
    seen = Evidence(900, 1, "o1", "easy", 12.0, recognised=1, answers=1)
    assert verdict([*rows, seen], PSNR).outcome == "nothing shown"


def test_a_failed_attack_is_never_called_safe():
    rows = (
        attacked(6.0, 7.0, status="diverged: loss is not finite") + control("mismatched", 3.0) + control("prior", 2.0)
    )
    found = verdict(rows, PSNR)
    assert (found.outcome, found.failed) == ("nothing shown", 2)
    text = " ".join((found.headline, *found.notes))
    assert "does not make the update safe" in text
    assert "On 2 of 2 originals the attack failed by its own account" in text
    # The word appears only where it is denied.
    assert text.count("safe") == text.count("does not make the update safe") + text.count("nothing of their safety")


def test_an_attack_that_used_all_its_iterations_did_not_fail() -> None:
    assert verdict(attacked(6.0, 7.0, status="stopped: all iterations used, loss 5e-08"), PSNR).failed == 0
    assert verdict(attacked(6.0, 7.0, status="stalled: the loss stopped falling at 1e-02"), PSNR).failed == 2


def test_no_control_at_all_or_an_unscored_one_is_inconclusive():
    bare = verdict(attacked(52.0), PSNR)
    assert bare.outcome == "inconclusive"
    assert "no control was run" in bare.headline
    assert NO_CONTROL in bare.notes
    assert not any("cannot be told apart" in note for note in bare.notes)
    unscored = verdict(attacked(52.0) + control("prior", None) + control("mismatched", 3.0), PSNR)
    assert unscored.outcome == "inconclusive"
    # A run of one update has no other gradient to mismatch with: the prior alone then carries the check.
    assert verdict(attacked(52.0) + control("prior", 3.0), PSNR).outcome == "leaks"


def test_a_run_without_a_mismatched_control_says_so_and_the_prior_decides():
    said = "No mismatched control was run: it needs a second update with another picture."
    holding = verdict(attacked(52.0) + control("prior", 3.0), PSNR)
    failing = verdict(attacked(52.0) + control("prior", 52.0), PSNR)
    assert (holding.outcome, failing.outcome) == ("leaks", "inconclusive")
    assert said in holding.notes
    assert said in failing.notes
    assert said not in verdict(attacked(52.0) + LOW_CONTROLS, PSNR).notes
    # one that is not scored yet was run
    assert said not in verdict(attacked(52.0) + control("prior", 3.0) + control("mismatched", None), PSNR).notes
    # without any control the headline says that none was run; a second update would not have changed that
    assert said not in verdict(attacked(52.0), PSNR).notes
    assert said not in verdict(attacked(None) + control("prior", None), PSNR).notes  # pending: it may still come


def test_nothing_scored_and_nobody_asked_is_pending():
    for rows in ([], attacked(None, None)):
        found = verdict(rows, PSNR)
        assert (found.outcome, found.basis) == ("pending", "nothing")
        assert found.interval.estimate is None


def test_of_two_reconstructions_of_one_original_the_leaking_one_counts():
    rows = [
        Evidence(1, 5, "o5", "attack", 8.0),
        Evidence(2, 5, "o5", "attack", 30.0),
        Evidence(3, 6, "o6", "attack", None),
        *LOW_CONTROLS,
    ]
    found = verdict(rows, PSNR)
    assert (found.originals, found.judged, found.leaked) == (2, 1, 1)
    assert "1 of 2 originals have no score." in found.notes


def test_a_model_only_run_says_how_it_is_paired_and_what_its_controls_are():
    """Three reconstructions, two nearest originals: the better one of each counts."""

    def made(key, original, role, score):
        return Evidence(key, original, f"o{original}", role, score, nearest="mse")

    rows = [made(1, 5, "attack", 30.0), made(2, 5, "attack", 8.0), made(3, 6, "attack", 9.0)]
    low = [made(4, 5, "prior", 2.0), made(5, 5, "mismatched", 3.0)]
    found = verdict(rows + low, PSNR)
    words = "each reconstruction is paired with the nearest original of its class (by MSE)"
    assert found.headline == f"1 of 2 originals scored PSNR ≥ 20 dB; {words}"
    assert [c.name for c in found.controls] == ["another class asked for", "the prior alone"]
    assert any("makes pictures of classes" in note for note in found.notes)
    alike = verdict([*rows, low[0], made(5, 5, "mismatched", 31.0)], PSNR)
    assert alike.outcome == "inconclusive"
    assert alike.headline.startswith("Inconclusive: the control with another class asked for scores like the attack")
    assert any("for another class or for none" in note for note in alike.notes)
    assert any("an original of another class" in note for note in verdict([*rows, low[0]], PSNR).notes)
    nothing = verdict([made(1, 5, "attack", 9.0), *low], PSNR)
    assert any("does not make the model safe" in note for note in nothing.notes)
    given = verdict(attacked(30.0) + LOW_CONTROLS, PSNR)  # an ordinary run says nothing of all this
    assert "nearest" not in given.headline
    assert given.controls[0].name == "a mismatched gradient"


def test_infinite_scores_count_and_sort_first():
    found = verdict(attacked(30.0, math.inf) + LOW_CONTROLS, PSNR)
    assert found.leaked == 2
    assert found.worst[0].score == math.inf


def test_few_answers_never_say_that_an_attack_shows_nothing_and_the_score_stands_beside_them():
    # one of three was looked at and not recognised; two of three pass the threshold all the same
    rows = [answered(1, 0, 1, score=30.0), *attacked(25.0, 9.0, start=2)]
    found = verdict(rows + LOW_CONTROLS, PSNR)
    assert (found.outcome, found.basis) == ("nothing shown", "few answers")
    assert not any("showed no leakage" in note for note in found.notes)
    assert any("Too little has been answered" in note for note in found.notes)
    assert "By score alone, 2 of 3 originals have PSNR ≥ 20 dB." in found.notes
    whole = verdict([answered(i, 0, 3, score=9.0) for i in (1, 2)] + LOW_CONTROLS, PSNR)
    assert any("showed no leakage" in note for note in whole.notes)
    assert "By score alone, 0 of 2 originals have PSNR ≥ 20 dB." in whole.notes
