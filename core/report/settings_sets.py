"""Set metrics of many settings in a few questions, each metric in one version. No torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from core.metrics.sets import SET_METRICS
from core.report.present import Kind, shown
from core.report.sets import OLDER, SetScore, set_score
from core.settings import Settings
from core.storage.schema import scores, sets

CHUNK = 400  # names of one question
OTHER_VERSION = "scored with another version of the metric than the other settings"


def scores_by_name(connection: Connection, names: Sequence[str], settings: Settings) -> dict[str, dict[str, SetScore]]:
    """Set scores by metric of each set of these names (core.storage.sets.set_name); a name without any is absent.

    Of several sets of one name the newest that has scores counts. A setting whose score is of another version than
    the one shown has none, with that reason.
    """
    found = _newest(connection, names)
    answers: dict[str, dict[str, SetScore]] = {name: {} for name in found}
    for metric in SET_METRICS.values():
        kinds: dict[tuple[str, str], list[Any]] = {}
        for _, rows in found.values():
            for row in rows.get(metric.name, ()):
                kinds.setdefault((row.metric_version, row.weights_hash), []).append(row)
        if not kinds:
            continue
        told = [
            Kind(*key, len(same), any(not r.reason for r in same), max(r.id for r in same))
            for key, same in kinds.items()
        ]
        choice = shown(metric.name, told, settings)
        for name, (rule, rows) in found.items():
            mine = {(row.metric_version, row.weights_hash): row for row in rows.get(metric.name, ())}
            if mine:
                row = mine.get(choice.kind.key)
                older = OLDER if choice.of else ""
                answers[name][metric.name] = set_score(metric, row or next(iter(mine.values())), rule, older)
                if row is None:
                    answers[name][metric.name] = _without(answers[name][metric.name])
    return answers


def _without(score: SetScore) -> SetScore:
    return replace(score, value=None, reason=score.reason or OTHER_VERSION, warning="")


def _newest(connection: Connection, names: Sequence[str]) -> dict[str, tuple[dict[str, Any], Mapping[str, list[Any]]]]:
    """The rule and the rows of scores, by metric, of the newest scored set of each name."""
    listed: list[Any] = []
    for start in range(0, len(names), CHUNK):
        asked = sets.c.name.in_(names[start : start + CHUNK])
        listed += connection.execute(select(sets.c.id, sets.c.name, sets.c.rule).where(asked)).all()
    ids = [row.id for row in listed]
    rows: dict[int, dict[str, list[Any]]] = {}
    for start in range(0, len(ids), CHUNK):
        of_these = (scores.c.subject_kind == "set", scores.c.subject_id.in_(ids[start : start + CHUNK]))
        for score in connection.execute(select(scores).where(*of_these).order_by(scores.c.id)):
            rows.setdefault(score.subject_id, {}).setdefault(score.metric, []).append(score)
    newest: dict[str, tuple[dict[str, Any], Mapping[str, list[Any]]]] = {}
    for row in sorted(listed, key=lambda one: one.id):
        if row.id in rows:
            newest[row.name] = (json.loads(row.rule), rows[row.id])
    return newest
