"""What the Overview tells: a campaign as one, runs of nobody's campaign beside it, and the verdicts counted."""

import pytest
from sqlalchemy import update

from core.report import recent as module
from core.report.campaigns import CampaignRow, campaigns
from core.report.recent import live_campaigns, outcome, recent
from core.report.runs import Run, runs
from core.storage import schema
from core.storage.database import bump
from core.storage.store import Store
from tests.report.settings_fixtures import filled, settings_store, settings_template  # noqa: F401

jobs = schema.jobs


@pytest.fixture
def store(settings_store: Store, filled) -> Store:  # noqa: F811
    """Its first four runs were asked for by the campaign, the fifth by a person."""
    with settings_store.database.write() as connection:
        mine = jobs.c.id.in_(filled.runs[:4])
        connection.execute(update(jobs).where(mine).values(parent_id=filled.campaign))
        bump(connection, "jobs")
    return settings_store


def end(store: Store, campaign: int, finished: float) -> None:
    with store.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == campaign).values(state="done", finished=finished))
        bump(connection, "jobs")


def test_a_campaign_stands_for_its_runs_once_it_has_ended(store, filled) -> None:  # noqa: F811
    assert [row.id for row in live_campaigns(store)] == [filled.campaign]
    assert [one.id for one in recent(store, 6)] == [filled.runs[4]]  # a campaign that runs stands elsewhere
    assert {run.parent for run in runs(store)} == {filled.campaign, None}
    end(store, filled.campaign, finished=1e12)
    assert live_campaigns(store) == []
    found = recent(store, 6)
    assert [type(one) for one in found] == [CampaignRow, Run]  # the newest end first
    assert recent(store, 1) == found[:1]
    end(store, filled.campaign, finished=1.0)
    assert [type(one) for one in recent(store, 6)] == [Run, CampaignRow]


def test_its_outcome_by_hand(store, filled) -> None:  # noqa: F811
    found = outcome(store, campaigns(store)[0])
    assert found is not None
    # setting i shows 4 - i recognised images; the last of the five none; three have no results
    assert (found.leaks, found.nothing_shown, found.inconclusive, found.without) == (4, 1, 0, 3)
    assert found.judged == 5
    assert found.most is not None
    assert found.most.place == 1  # by people


def test_without_answers_the_most_is_by_the_threshold(store, filled) -> None:  # noqa: F811
    with store.database.write() as connection:
        connection.execute(schema.label_events.delete())
        bump(connection, "labels")
    found = outcome(store, campaigns(store)[0])
    assert found is not None
    assert found.most is not None
    assert found.most.verdict.verdict.basis == "threshold"
    assert found.most.place == 1  # made with the least noise


def test_a_huge_campaign_is_not_read_in_passing(store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SETTINGS", 7)  # it has 8
    assert outcome(store, campaigns(store)[0]) is None
