"""Overview: an empty store, a filled one, and the demo's button."""

import re

import pytest

from core.jobs.payloads import AttackJob, from_json
from core.storage import schema
from core.storage.database import bump
from tests.filled_settings import fill_settings
from tests.filled_store import fill_store


def words(test):
    return " ".join(e.value for kind in ("markdown", "caption", "html") for e in test.get(kind))


def test_an_empty_store_says_what_to_do(app):
    test = app()
    assert not test.exception
    assert "Nothing here yet" in words(test)
    assert [(m.label, m.value) for m in test.metric] == [
        ("Runs", "0"),
        ("Originals", "0"),
        ("Reconstructions", "0"),
        ("Answers", "0"),
    ]


def test_a_filled_store_is_counted_and_judged(app, store):
    fill_store(store, originals=8, runs=2, labels=4)
    test = app()
    assert not test.exception
    assert [m.value for m in test.metric] == ["2", "8", "16", "4"]
    assert "Nothing here yet" not in words(test)
    verdicts = [h.value for h in test.html if 'class="verdict' in h.value]
    assert len(verdicts) == 2
    assert "of 4 originals recognised by people" in verdicts[1]  # run 1 has 4 answers; the newest run comes first
    assert re.search(r"\d of 8 originals scored PSNR ≥ 20 dB", verdicts[0])


def test_cancelled_runs_without_results_do_not_lead_the_verdicts(app, store):
    filled = fill_store(store, originals=2, runs=2)
    with store.database.write() as connection:
        of_newest = schema.reconstructions.c.job_id == filled.runs[1]
        connection.execute(schema.reconstructions.update().where(of_newest).values(chosen=False))
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == filled.runs[1]).values(state="cancelled"))
    test = app()
    assert not test.exception
    titles = [s.value for s in test.subheader]
    assert titles.index("Recent verdicts") < titles.index("Ended without results")
    assert len([h for h in test.html if 'class="verdict' in h.value]) == 1


def test_the_demo_is_queued_once_and_offered_when_it_is_there(app, store):
    test = app()
    test.button(key="run_demo").click().run()
    assert not test.exception
    with store.database.read() as connection:
        job = connection.execute(schema.jobs.select()).one()
        stored = connection.execute(schema.originals.select()).all()
    payload = from_json(job.payload_type, job.payload_version, job.payload)
    assert isinstance(payload, AttackJob)
    assert (payload.attack, payload.model.architecture, payload.seed, len(payload.originals)) == ("dlg", "lenet", 0, 8)
    assert {row.dataset for row in stored} == {"lfw"}
    test.button(key="run_demo").click().run()
    with store.database.read() as connection:
        assert len(connection.execute(schema.jobs.select()).all()) == 1
        connection.close()
    with store.database.write() as connection:
        connection.execute(schema.jobs.update().values(state="done", finished=1.0, started=0.0))
    test.button(key="run_demo").click().run()
    assert "in the store already" in words(test)
    test.button(key="demo_anew").click().run()
    with store.database.read() as connection:
        assert len(connection.execute(schema.jobs.select()).all()) == 2


@pytest.mark.parametrize("name", ["Ana", "Ben Ōe"])
def test_the_annotator_comes_from_the_link(app, name):
    test = app(annotator=name)
    assert test.text_input(key="annotator").value == name


def test_a_bad_annotator_is_one_sentence_and_nothing_stops(app):
    test = app()
    test.text_input(key="annotator").set_value("<script>").run()
    assert not test.exception
    assert any("annotator's name" in c.value for c in test.caption)
    assert test.metric


def test_the_disk_is_shown_with_its_rules_and_pruned_by_a_button(app, store):
    import os

    from core.storage.usage import forget_usage

    fill_store(store, originals=2, runs=1)
    orphan = store.artifacts.put_bytes(b"nobody's", ".bin")
    os.utime(store.artifacts.path(orphan), (1.0, 1.0))
    forget_usage(store)
    test = app()
    assert not test.exception
    (panel,) = [e for e in test.expander if e.label.startswith("Disk: ")]
    assert re.fullmatch(r"Disk: [\d.]+ \w+ used by SemSight, [\d.]+ \w+ free", panel.label)
    shown = panel.table[0].value
    assert list(shown.columns) == ["Files", "Size", "Rule"]
    assert shown.loc["Originals and their sources", "Files"] == 2
    test.button(key="prune").click().run()
    assert not test.exception
    said = [t.value.replace("\\", "") for t in test.toast]  # without the marks that keep Markdown from reading it
    assert said == ["Deleted: 1 file that nothing names (8 B)."]
    assert not store.artifacts.exists(orphan)


def campaign_of_five(store):
    """A campaign whose runs are its own; returns what is in the store."""
    filled = fill_settings(store)
    with store.database.write() as connection:
        mine = schema.jobs.c.id.in_(filled.runs)
        connection.execute(schema.jobs.update().where(mine).values(parent_id=filled.campaign))
        named = schema.jobs.c.id == filled.campaign
        connection.execute(schema.jobs.update().where(named).values(title="My <b>study</b>"))
        bump(connection, "jobs")
    return filled


def links(test):
    return [(one.proto.label.replace("\\", ""), one.proto.query_string) for one in test.get("page_link")]


def test_a_campaign_that_runs_is_named_with_its_progress(app, store):
    filled = campaign_of_five(store)
    with store.database.write() as connection:
        first = schema.jobs.c.id == filled.runs[0]
        connection.execute(schema.jobs.update().where(first).values(state="running", title="My <b>study</b>: lenet"))
        bump(connection, "jobs")
    test = app()
    assert not test.exception
    told = words(test).replace("\\", "")
    assert f"Campaign {filled.campaign}: My <b>study</b>" in told
    assert f"Run {filled.runs[0]}: lenet" in told  # the run that it is at, without its campaign's name again
    assert ("Watch", f"campaign={filled.campaign}") in links(test)
    assert not any(query == f"run={filled.runs[0]}" for _, query in links(test))


def test_a_campaign_that_ended_is_one_card(app, store):
    filled = campaign_of_five(store)
    with store.database.write() as connection:
        one = schema.jobs.c.id == filled.campaign
        connection.execute(schema.jobs.update().where(one).values(state="done"))
        bump(connection, "jobs")
    test = app()
    assert not test.exception
    verdicts = [h.value for h in test.html if 'class="verdict' in h.value]
    assert len(verdicts) == 1
    assert "4 of 5 settings leak" in verdicts[0]
    assert "1 showed nothing; 3 without a verdict" in verdicts[0]
    assert "4 of 4 originals recognised by people" in verdicts[0]
    assert (f"Campaign {filled.campaign}: My <b>study</b>", f"campaign={filled.campaign}") in links(test)
