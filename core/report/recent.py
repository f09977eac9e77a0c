"""What the Overview tells of campaigns: what runs, what ended lately, and what came of one. Rows only, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.report.campaigns import ACTIVE, CampaignRow, campaigns
from core.report.runs import Run, runs
from core.report.settings_records import SHARE, SettingRow
from core.report.settings_table import settings_table
from core.storage.store import Store

MOST_SETTINGS = 200  # of a campaign whose verdicts are counted where it is only mentioned
NEWEST = 50  # campaigns looked through


@dataclass(frozen=True)
class Outcome:
    """What came of a campaign: settings by verdict, and the one that leaks most."""

    leaks: int
    nothing_shown: int
    inconclusive: int
    without: int  # settings without a verdict: failed, or nothing scored
    most: SettingRow | None  # by people where they ranked any, else by originals above the threshold

    @property
    def judged(self) -> int:
        """Settings with a verdict."""
        return self.leaks + self.nothing_shown + self.inconclusive


def live_campaigns(store: Store) -> list[CampaignRow]:
    """Those queued, running or paused, newest first."""
    return [row for row in campaigns(store, limit=NEWEST) if row.state in ACTIVE]


def recent(store: Store, limit: int) -> list[Run | CampaignRow]:
    """The newest that ended with results: campaigns as one each, and runs that no campaign asked for."""
    ended = [row for row in campaigns(store, limit=NEWEST) if row.state not in ACTIVE and row.asked]
    found: list[Run | CampaignRow] = [*ended, *runs(store, limit=limit, active=False, results=True, alone=True)]
    return sorted(found, key=lambda one: (one.finished or one.created, one.id), reverse=True)[:limit]


def outcome(store: Store, row: CampaignRow) -> Outcome | None:
    """The verdicts of a campaign's settings, as its table gives them; None for one too large to be read in passing."""
    if row.settings > MOST_SETTINGS:
        return None
    table = settings_table(store, campaign=row.id)
    found = [one.verdict.verdict.outcome if one.verdict else "pending" for one in table.rows]
    return Outcome(
        leaks=found.count("leaks"),
        nothing_shown=found.count("nothing shown"),
        inconclusive=found.count("inconclusive"),
        without=found.count("pending"),
        most=_most(table.rows, table.column(SHARE).ranks),
    )


def _most(rows: Sequence[SettingRow], ranks: Sequence[int | None]) -> SettingRow | None:
    """Of the settings that leak: the first by people, else the one with the largest share of leaked originals."""
    both = zip(rows, ranks, strict=True)
    held = [(row, rank) for row, rank in both if row.verdict and row.verdict.verdict.outcome == "leaks"]
    if not held:
        return None
    by_people = sorted((rank, row.place) for row, rank in held if rank is not None)
    if by_people:
        return next(row for row, _ in held if row.place == by_people[0][1])
    return max(held, key=lambda pair: (_share(pair[0]), -pair[0].place))[0]


def _share(row: SettingRow) -> float:
    found = row.verdict.verdict if row.verdict else None
    return found.leaked / found.judged if found and found.judged else 0.0
