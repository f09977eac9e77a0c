"""What people said of each setting, and its verdict; kept until an answer or a result changes. No torch."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock

from core.labels.recognition import Recognition, recognition
from core.report.evidence import RunVerdict, threshold
from core.report.present import present_mark
from core.report.settings_plan import RunState
from core.report.settings_records import People
from core.report.settings_scores import Made
from core.report.verdict import verdict
from core.statistics.summary import clustered_share, wilson
from core.storage.database import change
from core.storage.store import Store

KEPT_ANSWERS, KEPT_VERDICTS = 4, 1_000
Answers = Mapping[int, Recognition]

_answers: OrderedDict[tuple[str, int, bool], Answers] = OrderedDict()
_verdicts: OrderedDict[tuple[object, ...], RunVerdict] = OrderedDict()
_lock = Lock()


def answers(store: Store, blind_only: bool) -> tuple[int, Answers]:
    """The counter of answers, and the recognition of every reconstruction that has any, read once for each counter."""
    with store.database.read() as connection:
        counter = change(connection, "labels")
    key = (str(store.database.url), counter, blind_only)
    with _lock:
        if key in _answers:
            return counter, _answers[key]
    found = recognition(store, blind_only=blind_only)
    with _lock:
        _answers[key] = found
        while len(_answers) > KEPT_ANSWERS:
            _answers.popitem(last=False)
    return counter, found


def people(facts: Made, blind: Answers, everyone: Answers, blind_only: bool) -> People:
    """What people said of the attack's reconstructions, controls left out."""
    ids = facts.ids[facts.attack].tolist()
    used = blind if blind_only else everyone
    said = [used[one] for one in ids if one in used]
    decided = [one.recognisable for one in said if one.recognisable is not None]
    beside = sum(everyone[one].answers for one in ids if one in everyone) - sum(one.answers for one in said)
    controls = sum(used[one].answers for one in facts.ids[~facts.attack].tolist() if one in used)
    return People(
        images=len(said),
        share=wilson(sum(decided), len(decided)),
        recognisable=sum(decided),
        undetermined=len(said) - len(decided),
        unlabelled=len(ids) - len(said),
        rate=clustered_share([one.recognised for one in said], [one.answers for one in said]),
        beside=beside,
        controls=controls,
    )


def verdicts(store: Store, groups: Sequence[tuple[RunState, ...]], made: Sequence[Made]) -> list[RunVerdict]:
    """The verdict of each setting, by the rule of a run's own page: blind answers, or all where none is blind.

    Where one original was attacked in several runs of a setting, the attempt that leaks most counts.
    """
    counter, blind = answers(store, True)
    _, everyone = answers(store, False)
    where = (str(store.database.url), counter, present_mark(store.settings))
    found = []
    for group, facts in zip(groups, made, strict=True):
        key = (*where, tuple((run.id, run.mark) for run in group))
        with _lock:
            kept = _verdicts.get(key)
        if kept is None:
            is_blind = any(one in blind for one in facts.ids.tolist())
            used = blind if is_blind else everyone
            is_blind = is_blind or not any(one in everyone for one in facts.ids.tolist())
            kept = RunVerdict(verdict(facts.evidence(used, store.settings), threshold()), is_blind)
        with _lock:
            _verdicts[key] = kept
            _verdicts.move_to_end(key)
            while len(_verdicts) > KEPT_VERDICTS:
                _verdicts.popitem(last=False)
        found.append(kept)
    return found
