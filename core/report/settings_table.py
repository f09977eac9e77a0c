"""One row a setting: accuracy, every metric, people, verdict and ranks side by side. No torch.

The paper's claim is about ranking settings (arXiv 2309.13038): this is the table in which its question is asked.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from core.errors import UserError
from core.leakage.defences import DEFENCES
from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS
from core.report.groups import group, in_order
from core.report.names import short_name
from core.report.present import Shown, anew_words
from core.report.records import REFERENCES
from core.report.references import ATTACKED, SOURCE, references
from core.report.score_columns import NONE
from core.report.sets import SetScore
from core.report.settings_frame import frame as frame
from core.report.settings_notes import alike, notes, set_note
from core.report.settings_people import answers, people, verdicts
from core.report.settings_plan import Planned, planned
from core.report.settings_ranks import agreements, ranked
from core.report.settings_records import (
    RATE,
    SHARE,
    STATISTICS,
    SettingColumn,
    SettingRow,
    SettingsTable,
    Statistic,
    set_of,
)
from core.report.settings_scores import Made, choose, made
from core.report.settings_sets import scores_by_name
from core.report.summary import MetricSummary
from core.storage.sets import set_name
from core.storage.store import Store

PICTURES = 3  # reconstructions shown of a setting
OTHER_VERSION = "scored with another version of the metric than the other settings"


def settings_table(
    store: Store,
    *,
    campaign: int | None = None,
    runs: Sequence[int] | None = None,
    reference: str = ATTACKED,
    blind_only: bool = True,
    statistic: Statistic = "mean",
) -> SettingsTable:
    """The settings of a campaign in the order of its plan, or of the store's runs (or these runs), grouped by setting.

    reference: what scores compare with: "attacked" pixels, or their "source" before a defence on the input; settings
    without such a defence have one picture for both. statistic: what ranks a setting by a metric, its mean (in dB that
    of the errors behind it) or its median. Raises UserError for what the store does not have.
    """
    if reference not in REFERENCES or statistic not in STATISTICS:
        raise UserError(f"A table of settings compares with {' or '.join(REFERENCES)}, by mean or median.")
    plan = planned(store, campaign, runs)
    shown = [row for row in plan if row.runs]
    groups = [row.runs for row in shown]
    attacked = made(store, groups, ATTACKED)
    used = attacked if reference == ATTACKED else _sources(shown, attacked, made(store, groups, SOURCE))
    choice = choose(used, store.settings)
    judged = dict(zip(map(id, shown), verdicts(store, groups, attacked), strict=True))
    facts = {id(row): (a, u) for row, a, u in zip(shown, attacked, used, strict=True)}
    sets = _sets(store, shown, [ATTACKED if u is a else reference for a, u in zip(attacked, used, strict=True)])
    said = (answers(store, True)[1], answers(store, False)[1], blind_only)
    pictures = _pictures(attacked)
    rows: list[SettingRow] = []
    for place, row in enumerate(plan, start=1):
        made_row = _empty(place, row)
        if id(row) in facts and len(facts[id(row)][0].ids):
            first, second = facts[id(row)]
            made_row = replace(
                _filled(made_row, row, first, second, choice),
                reference=ATTACKED if second is first else reference,
                run_sets=sets[id(row)][0],
                setting_sets=sets[id(row)][1],
                people=people(first, *said),
                verdict=judged[id(row)],
                pictures=pictures[id(first)],
            )
        rows.append(made_row)
    return _table(store, rows, choice, campaign, reference, blind_only, statistic)


def _table(
    store: Store,
    rows: Sequence[SettingRow],
    choice: Mapping[str, Shown],
    campaign: int | None,
    reference: str,
    blind_only: bool,
    statistic: Statistic,
) -> SettingsTable:
    columns = ranked(rows, _columns(rows, choice), statistic)
    agreement, against, words = agreements(rows, columns, statistic)
    scored = {column.name for column in columns}
    unscored = {name: reason for row in reversed(rows) for name, reason in row.unscored.items() if name not in scored}
    return SettingsTable(
        rows=tuple(rows),
        columns=tuple(columns),
        agreement=agreement,
        agreement_words=words,
        against=against,
        notes=notes(rows, choice, blind_only),
        alike=alike(rows),
        reference=reference,
        blind_only=blind_only,
        statistic=statistic,
        unscored=unscored,
        references=references(store),
        campaign=campaign,
    )


# --- rows -------------------------------------------------------------------------------------------------
def _empty(place: int, row: Planned) -> SettingRow:
    return SettingRow(
        place=place,
        title=row.title,
        parts=row.parts,
        state=row.state,
        reason=row.reason,
        job=row.job,
        train_job=row.train_job,
        victim=row.victim,
        originals=row.asked.originals if row.asked else None,
    )


def _filled(empty: SettingRow, row: Planned, attacked: Made, used: Made, choice: Mapping[str, Shown]) -> SettingRow:
    metrics: dict[str, MetricSummary] = {}
    unscored: dict[str, str] = {}
    for name, kind in choice.items():
        found = used.figures.get((name, *kind.kind.key))
        if found is not None and found.summary.n:
            metrics[name] = found.summary
        elif found is not None:
            unscored[name] = found.reason
        elif any(key[0] == name for key in used.figures):
            unscored[name] = OTHER_VERSION
    several = len(row.runs) > 1
    return replace(
        empty,
        runs=tuple(run.id for run in row.runs),
        originals=len(set(attacked.originals[attacked.attack].tolist()) - {NONE}) if several else empty.originals,
        reconstructions=int(attacked.attack.sum()) or None,
        metrics=metrics,
        unscored=unscored,
        nearest=attacked.nearest,
        drawn=attacked.drawn,
    )


def _sources(rows: Sequence[Planned], attacked: Sequence[Made], source: Sequence[Made]) -> list[Made]:
    """Scores against the sources; against the attacked pixels where no defence changed the input: the same pictures."""
    return [
        second if _changes_input(row) or (second.originals != NONE).any() else first
        for row, first, second in zip(rows, attacked, source, strict=True)
    ]


def _changes_input(row: Planned) -> bool:
    chosen = row.asked.values["threat"].get("defences", ()) if row.asked else ()
    return any(one["name"] in DEFENCES and DEFENCES[one["name"]].on_pictures is not None for one in chosen)


def _sets(
    store: Store, rows: Sequence[Planned], compared: Sequence[str]
) -> dict[int, tuple[dict[str, SetScore], dict[str, SetScore]]]:
    """Set scores of each row: over its one run, and over all runs of its setting."""
    names: dict[int, tuple[str, str]] = {}
    for row, reference in zip(rows, compared, strict=True):
        one = set_name("run", str(row.runs[0].id), reference) if len(row.runs) == 1 else ""
        names[id(row)] = (one, set_name("setting", row.asked.setting, reference) if row.asked else "")
    with store.database.read() as connection:
        asked = sorted({name for pair in names.values() for name in pair if name})
        found = scores_by_name(connection, asked, store.settings)
    return {key: (found.get(one, {}), found.get(both, {})) for key, (one, both) in names.items()}


def _pictures(facts: Sequence[Made]) -> dict[int, tuple[tuple[int, str], ...]]:
    """A few reconstructions of each setting, of the same originals wherever possible."""
    made_of: dict[int, dict[int, str]] = {}
    for one in facts:
        places = np.flatnonzero(one.attack & (one.originals != NONE)).tolist()
        made_of[id(one)] = {int(one.originals[i]): one.shas[i] for i in reversed(places)}
    common = Counter(original for found in made_of.values() for original in found)
    return {
        key: tuple((o, found[o]) for o in sorted(found, key=lambda o: (-common[o], o))[:PICTURES])
        for key, found in made_of.items()
    }


# --- columns ---------------------------------------------------------------------------------------------
def _columns(rows: Sequence[SettingRow], choice: Mapping[str, Shown]) -> list[SettingColumn]:
    """People first, then the metrics that any row has a value of, in the order of their groups, then set metrics."""
    found = [
        SettingColumn(SHARE, "Recognisable", "people", "higher", "%"),
        SettingColumn(RATE, "Recognition rate", "people", "higher", "%"),
    ]
    for name in in_order({name for row in rows for name in row.metrics}):
        record, kind = METRICS.get(name), choice[name]
        note = anew_words({name: (kind.done, kind.of)}) if kind.of else ""
        found.append(
            SettingColumn(
                name, short_name(name), "metric", record.direction if record else "higher",
                record.unit if record else "", group(name), record is None or record.diagnostic, *kind.kind.key, note,
            )
        )  # fmt: skip
    for name, metric in SET_METRICS.items():
        scores = [one for row in rows if (one := set_of(row, name)) is not None and one.value is not None]
        if scores:
            version = (scores[0].version, scores[0].weights_hash)
            found.append(
                SettingColumn(
                    name, short_name(name), "set", metric.direction, version=version[0], weights_hash=version[1],
                    note=set_note(scores),
                )
            )  # fmt: skip
    return found
