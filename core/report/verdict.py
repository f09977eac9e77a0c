"""What a run has shown, in one statement. Pure: rows in, a small record out.

A verdict says how many originals people recognised or, where nobody has answered, how many scored beyond a
threshold that is named; with a Wilson interval, the worst originals, and the controls. It never says "safe":
an attack that shows nothing, or fails, says nothing about other attacks.
"""

from collections.abc import Sequence
from statistics import median

from core.report.names import nearest_words
from core.report.verdict_records import ENOUGH_ANSWERS, Basis, ControlCheck, Evidence, Outcome, Threshold, Verdict
from core.report.verdict_words import (
    ALONE,
    CONTROL_NAMES,
    EASY,
    NO_CONTROL,
    NO_MISMATCHED,
    NO_OTHER_CLASS,
    OTHER_CLASS,
)
from core.statistics import wilson

CONTROL_ROLES = ("mismatched", "prior")
WORST = 4
# Beginnings of an attack's status; one that used all its iterations did not fail.
FAILURES = ("diverged", "stalled", "nothing to read", "labels not readable")


def verdict(evidence: Sequence[Evidence], threshold: Threshold) -> Verdict:
    """Judge a run from its chosen reconstructions of every role.

    Where two reconstructions are paired with one original, the one that leaks more counts. Those of an attack on the
    model alone are all paired with the nearest original of their class: headline and notes say so.
    """
    nearest = next((e.nearest for e in evidence if e.nearest), "")
    attacked = _one_each([e for e in evidence if e.role == "attack"], threshold)
    basis = _basis(attacked)
    judged, leaked = _count(attacked, basis, threshold)
    worst = tuple(sorted(attacked, key=lambda e: _order(e, threshold), reverse=True)[:WORST])
    controls = tuple(_check(role, evidence, leaked or attacked, threshold) for role in CONTROL_ROLES)
    controls += _easy(evidence, threshold)
    fatal = [check for check in controls if check.failed and not (check.reaches and leaked)]
    shown = {e.reconstruction for e in leaked}
    failed = sum(e.status.startswith(FAILURES) and e.reconstruction not in shown for e in attacked)
    outcome: Outcome
    if basis == "nothing":
        outcome = "pending"
    elif fatal:
        outcome = "inconclusive"
    else:
        outcome = "leaks" if leaked else "nothing shown"
    return Verdict(
        outcome=outcome,
        basis=basis,
        leaked=len(leaked),
        judged=len(judged),
        originals=len(attacked),
        undetermined=len(attacked) - len(judged),
        failed=failed,
        interval=wilson(len(leaked), len(judged)),
        worst=worst,
        controls=controls,
        threshold=threshold,
        headline=_headline(outcome, basis, len(leaked), len(judged), fatal, threshold, nearest),
        notes=(
            *_notes(outcome, basis, len(attacked), len(judged), failed, controls, bool(nearest)),
            *_by_score(attacked, basis, threshold),
        ),
    )


def _by_score(attacked: Sequence[Evidence], basis: Basis, threshold: Threshold) -> list[str]:
    """Where people decide: what the threshold says beside them, which their answers so far may not have reached."""
    judged, leaked = _count(attacked, "threshold", threshold)
    told = [f"By score alone, {len(leaked)} of {len(judged)} originals have {threshold}."]
    return told if basis in ("people", "few answers") and judged else []


def control_name(role: str, alone: bool) -> str:
    """The control in words; alone: of an attack that had the model alone."""
    return OTHER_CLASS if alone and role == "mismatched" else CONTROL_NAMES[role]


def _one_each(evidence: Sequence[Evidence], threshold: Threshold) -> list[Evidence]:
    best: dict[int, Evidence] = {}
    for entry in evidence:
        known = best.get(entry.original)
        if known is None or _order(entry, threshold) > _order(known, threshold):
            best[entry.original] = entry
    return list(best.values())


def _order(entry: Evidence, threshold: Threshold) -> tuple[float, float, float]:
    """More leakage sorts higher: what people say first, then the score; what is unknown last."""
    people = -1.0 if entry.rate is None else entry.rate
    score = float("-inf") if entry.score is None else threshold.oriented(entry.score)
    return (people, float(entry.score is not None), score)


def _basis(attacked: Sequence[Evidence]) -> Basis:
    if any(e.recognisable is not None for e in attacked):
        return "people"
    if any(e.answers for e in attacked):
        return "few answers"
    return "threshold" if any(e.score is not None for e in attacked) else "nothing"


def _count(attacked: Sequence[Evidence], basis: Basis, threshold: Threshold) -> tuple[list[Evidence], list[Evidence]]:
    """(judged, leaked) originals on this basis."""
    if basis == "people":
        judged = [e for e in attacked if e.recognisable is not None]
        return judged, [e for e in judged if e.recognisable]
    if basis == "few answers":
        judged = [e for e in attacked if e.answers]
        return judged, [e for e in judged if 2 * e.recognised > e.answers]
    judged = [e for e in attacked if e.score is not None]
    return judged, [e for e in judged if e.score is not None and threshold.crossed(e.score)]


def _check(role: str, evidence: Sequence[Evidence], against: Sequence[Evidence], threshold: Threshold) -> ControlCheck:
    """CONTROL_RULE for one kind of control."""
    entries = [e for e in evidence if e.role == role]
    name = control_name(role, any(e.nearest for e in evidence))
    if not entries:
        alone = not any(e.role in CONTROL_ROLES for e in evidence)
        reason = "no control was run" if alone else f"no control with {name} was run"
        return ControlCheck(role, 0, None, None, alone, reason, name)
    own = [threshold.oriented(e.score) for e in entries if e.score is not None]
    reference = [threshold.oriented(e.score) for e in against if e.score is not None]
    turn = 1.0 if threshold.direction == "higher" else -1.0
    best = turn * max(own) if own else None
    bar = turn * median(reference) if reference else None
    if any(2 * e.recognised > e.answers for e in entries if e.answers):
        failed, reason = True, f"people recognise a control with {name}"
    elif best is None or bar is None:
        failed, reason = True, f"the control with {name} is not scored yet"
    elif max(own) >= median(reference):
        failed, reason = True, f"the control with {name} scores like the attack"
    else:
        failed, reason = False, f"the control with {name} stays below the attack"
    return ControlCheck(role, len(entries), best, bar, failed, reason, name, len(reference))


def _easy(evidence: Sequence[Evidence], threshold: Threshold) -> tuple[ControlCheck, ...]:
    """The easy case, where it was run: it fails when it shows nothing."""
    entries, name = [e for e in evidence if e.role == EASY], CONTROL_NAMES[EASY]
    if not entries:
        return ()
    scores = [threshold.oriented(e.score) for e in entries if e.score is not None]
    best = (1.0 if threshold.direction == "higher" else -1.0) * max(scores) if scores else None
    seen = any(2 * e.recognised > e.answers for e in entries if e.answers)
    if best is None and not seen:
        return (ControlCheck(EASY, len(entries), None, threshold.value, True, "the easy case is not scored yet", name),)
    works = seen or (best is not None and threshold.crossed(best))
    reason = "the attack works on the easy case" if works else "the attack shows nothing on the easy case either"
    return (ControlCheck(EASY, len(entries), best, threshold.value, not works, reason, name),)


def _headline(
    outcome: Outcome, basis: Basis, k: int, n: int, fatal: Sequence[ControlCheck], threshold: Threshold, nearest: str
) -> str:
    if outcome == "pending":
        return "No verdict yet: nothing is scored and nobody has answered"
    what = f"scored {threshold}" if basis == "threshold" else "recognised by people"
    count = f"{k} of {n} originals {what}"
    if nearest:
        count += f"; each reconstruction is {nearest_words(nearest)}"
    if outcome == "inconclusive":
        return f"Inconclusive: {fatal[0].reason} ({count})"
    return count


def _notes(
    outcome: Outcome,
    basis: Basis,
    originals: int,
    judged: int,
    failed: int,
    controls: Sequence[ControlCheck],
    alone: bool,
) -> tuple[str, ...]:
    notes = []
    if outcome == "nothing shown" and basis != "threshold" and (basis == "few answers" or judged < originals):
        notes.append("Too little has been answered yet to say that this attack shows nothing.")
    elif outcome == "nothing shown":
        what = "model" if alone else "update"
        notes.append(f"This attack showed no leakage. That does not make the {what} safe: another attack may succeed.")
    easy = next((c for c in controls if c.reaches), None)
    fatal = [c for c in controls if c.failed and not c.reaches]
    if outcome == "inconclusive" and fatal and not any(c.count for c in fatal):
        notes.append(NO_CONTROL)
    elif outcome == "inconclusive" and fatal:
        what = "for another class or for none" if alone else "without the update"
        notes.append(f"What the attack shows cannot be told apart from what it shows {what}.")
    elif outcome == "inconclusive":
        notes.append("It fails even where everything is in its favour, so its failure here says nothing.")
    if outcome == "nothing shown" and easy is not None:
        notes.append("It works on the undefended easy case: here the threat model or the defence stops this attack.")
    if outcome != "pending" and any(c.role == "mismatched" and not c.count and not c.failed for c in controls):
        notes.append(NO_OTHER_CLASS if alone else NO_MISMATCHED)
    if alone:
        notes.append(ALONE)
    if basis == "threshold":
        notes.append("Nobody has answered yet: the threshold is a convention, not what a person sees.")
    if basis == "few answers":
        notes.append(f"Provisional: no original has {ENOUGH_ANSWERS} answers yet.")
    if basis == "people" and judged < originals:
        notes.append(f"{originals - judged} of {originals} originals have fewer than {ENOUGH_ANSWERS} answers.")
    if basis == "threshold" and judged < originals:
        notes.append(f"{originals - judged} of {originals} originals have no score.")
    if failed:
        trouble = f"On {failed} of {originals} originals the attack failed by its own account"
        notes.append(f"{trouble}: that says nothing of their safety.")
    return tuple(notes)
