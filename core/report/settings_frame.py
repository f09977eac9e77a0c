"""A table of settings as one frame: every figure that the page shows and those behind it, for CSV."""

from typing import TYPE_CHECKING, Any

from core.report.sets import SetScore
from core.report.settings_records import PARTS, PEOPLE, SettingColumn, SettingRow, SettingsTable, value_of
from core.report.summary import DECIBEL

if TYPE_CHECKING:
    import pandas as pd


def frame(table: SettingsTable) -> "pd.DataFrame":
    """One row a setting in the table's order; what does not exist yet is missing, never 0.

    Shares are in [0, 1]; NAME_rank is 1 where most leaks; docs/settings-table.md lists every column.
    """
    import pandas as pd

    rows = [_row(table, index) for index in range(len(table.rows))]
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = {name: [row.get(name) for row in rows] for name in names}
    return pd.DataFrame(cells, columns=names, dtype=object)  # so that whole numbers stay whole beside missing ones


def _row(table: SettingsTable, index: int) -> dict[str, Any]:
    row = table.rows[index]
    found: dict[str, Any] = {"place": row.place, "setting": row.title}
    found |= {name: row.parts.get(name, "") for name in PARTS}
    found |= {
        "state": row.state,
        "reason": row.reason,
        "runs": " ".join(map(str, row.runs)),
        "reference": row.reference if row.metrics else "",
        "nearest": row.nearest,
        "accuracy": row.victim.accuracy,
        "held_out": row.victim.held_out,
        "epsilon": row.victim.epsilon,
        "delta": row.victim.delta,
        "unit": row.victim.unit,
        "epoch": row.victim.epoch,
        "originals": row.originals,
        "reconstructions": row.reconstructions,
    }
    for column in table.columns:
        found |= _cells(table, row, column) if column.kind != "people" else {}
        if not column.diagnostic:
            found[f"{column.name}_rank"] = column.ranks[index]
    return found | _people(table, row) | _verdict(row)


def _cells(table: SettingsTable, row: SettingRow, column: SettingColumn) -> dict[str, Any]:
    name = column.name
    if column.kind == "set":
        return _set(f"{name}_run", row.run_sets.get(name)) | _set(f"{name}_setting", row.setting_sets.get(name))
    one = row.metrics.get(name)
    found = {
        f"{name}_median": one.median if one else None,
        f"{name}_mean": one.mean if one else None,
        f"{name}_n": one.n if one else None,
        f"{name}_infinite": one.infinite if one else None,
        f"{name}_unscored": one.unscored if one else None,
        f"{name}_version": column.version,
    }
    if column.unit == DECIBEL:
        found[f"{name}_of_mean_error"] = one.of_mean_error if one else None
    return found


def _set(name: str, score: SetScore | None) -> dict[str, Any]:
    return {name: score.value if score else None, f"{name}_n": score.n if score else None}


def _people(table: SettingsTable, row: SettingRow) -> dict[str, Any]:
    said, found = row.people, {}
    for name in PEOPLE:
        column = table.column(name)
        estimate = None if said is None else said.share if column.name == PEOPLE[0] else said.rate
        found[name] = value_of(row, column, table.statistic)
        found |= {
            f"{name}_low": estimate.low if estimate else None,
            f"{name}_high": estimate.high if estimate else None,
        }
        found[f"{name}_n"] = estimate.n if estimate else None
    counted = ("images", "undetermined", "unlabelled", "beside")
    return found | {f"answered_{name}": getattr(said, name) if said else None for name in counted}


def _verdict(row: SettingRow) -> dict[str, Any]:
    if row.verdict is None:
        return dict.fromkeys(("verdict", "basis", "leaked", "judged", "headline", "controls"))
    found = row.verdict.verdict
    controls = "; ".join(
        f"{one.name}: {'failed' if one.failed else 'held' if one.count else 'not run'}" for one in found.controls
    )
    basis = str(found.threshold) if found.basis == "threshold" else found.basis
    return {
        "verdict": found.outcome,
        "basis": basis if row.verdict.blind else f"{basis}, answers given beside the original",
        "leaked": found.leaked,
        "judged": found.judged,
        "headline": found.headline,
        "controls": controls,
    }
