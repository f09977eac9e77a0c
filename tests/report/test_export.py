"""The exported file: whole, inert, and silent on any network."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.errors import UserError
from core.labels.inline import answer_inline
from core.metrics.registry import METRICS
from core.metrics.sets import SET_METRICS
from core.report.export import CSP, export_html, read_export
from core.report.export_style import STYLE
from core.storage import schema
from core.storage.database import bump
from core.storage.scores import StoredScore, write_scores
from core.storage.sets import set_name
from tests.filled_store import fill_store

EVIL = '</script><script>document.title="owned"</script><img src=x onerror="document.title=1">'


@pytest.fixture
def page(store):
    filled = fill_store(store, originals=3, runs=1)
    answer_inline(store, filled.reconstructions[0], "Ana", "yes")
    with store.database.write() as connection:
        connection.execute(schema.originals.update().values(name=EVIL, class_name=EVIL))
        connection.execute(schema.jobs.update().values(title=EVIL))
    return export_html(store, 1).decode()


def test_it_holds_run_settings_scores_answers_and_images(page, store):
    data = read_export(page.encode())
    assert data["run"]["settings"]["attack"] == "dlg"
    rows = [row for row in data["reconstructions"] if row["role"] == "attack"]
    assert len(rows) == 3
    assert rows[0]["scores"]["psnr"] == "inf"  # strict JSON: an infinity is a word
    assert rows[2]["unscored"] == {"ssim": "left out on purpose by the fixture"}
    assert (rows[0]["recognised"], rows[0]["answers"]) == (1, 1)
    assert len([row for row in data["reconstructions"] if row["role"] == "mismatched"]) == 2
    assert page.count("data:image/png;base64,") == 3 * 5  # original, reconstruction, difference
    assert data["verdict"]["answers_blind"] is False


def test_it_says_with_which_versions_and_weights_it_was_scored_and_against_what(store):
    filled = fill_store(store, originals=3, runs=1)
    with store.database.write() as connection:
        score = StoredScore("pairing", 1, "attacked", "lpips_alex", "0.1<", "ab" * 32, 0.25)
        made = connection.execute(
            schema.sets.insert().values(
                name=set_name("run", str(filled.runs[0]), "attacked"),
                rule='{"scope":"run","runs":[1],"originals":3,"reconstructions":3,"found":[3,3]}',
                identity="a" * 64,
                created=0,
            )
        ).inserted_primary_key[0]
        of_set = StoredScore("set", made, "attacked", "fid", SET_METRICS["fid"].version, "cd" * 32, 71.5)
        write_scores(connection, [score, of_set])
        bump(connection, "scores")
    page = export_html(store, 1).decode()
    data = read_export(page.encode())
    assert data["reference"] == "attacked"
    assert data["metrics"]["psnr"] == {"version": METRICS["psnr"].version, "weights_hash": ""}
    assert data["metrics"]["lpips_alex"]["version"] == "0.1<"
    assert data["metrics"]["lpips_alex"]["weights_hash"] == "ab" * 32
    assert data["metrics"]["lpips_alex"]["scored_anew_of"] == 1  # no such version is registered
    (fid,) = data["sets"]
    assert (fid["metric"], fid["value"], fid["weights_hash"], fid["n"]) == ("fid", 71.5, "cd" * 32, 3)
    shown = page[page.index('id="versions"') : page.index('<script type="application/json"')]
    assert "Every score compares a reconstruction with the attacked pixels." in shown
    assert f"<td>0.1&lt;</td><td>{'ab' * 8}</td>" in shown
    assert "Being scored anew: LPIPS alex 0 of 1" in shown
    assert "<td>71.5</td><td>3</td>" in shown


class Tags(HTMLParser):
    """Every start tag with its attributes, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_markup_in_names_is_inert(page):
    tags = Tags(page).found
    assert [attributes for tag, attributes in tags if tag == "script"] == [{"type": "application/json", "id": "run"}]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert EVIL in read_export(page.encode())["run"]["title"]  # it is there, as text
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": CSP}) in tags


def test_nothing_in_it_points_outside(page):
    tags = Tags(page).found
    pointing = [
        value
        for _, attributes in tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "href", "action", "data", "poster", "background", "style")
    ]
    assert len(pointing) == 3 * 5  # the three images of 3 reconstructions and 2 controls
    assert all(value.startswith("data:image/png;base64,") for value in pointing)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_what_is_not_scored_is_said_once_with_its_reason(page):
    shown = page[: page.index('<script type="application/json"')]
    assert shown.count("left out on purpose by the fixture") == 1
    assert "left out on purpose" in shown[shown.index('id="not-scored"') :]


def test_the_verdict_has_the_colour_of_its_outcome_and_its_word(store):
    filled = fill_store(store, originals=3, runs=1)
    pairs = schema.pairings.select().where(schema.pairings.c.reconstruction_id.in_(filled.controls))
    with store.database.write() as connection:  # a control without a score makes the verdict inconclusive
        ids = [row.id for row in connection.execute(pairs)]
        connection.execute(schema.scores.delete().where(schema.scores.c.subject_id.in_(ids)))
    page = export_html(store, 1).decode()
    assert read_export(page.encode())["verdict"]["outcome"] == "inconclusive"
    assert '<section class="verdict inconclusive"><h2>Inconclusive' in page
    amber = "#b45309, #f59e0b"
    css = (Path(__file__).parents[2] / "assets" / "style.css").read_text(encoding="utf-8")
    assert f".verdict.inconclusive {{ border-color: light-dark({amber}); }}" in css  # the app's
    assert f".verdict.inconclusive, .verdict.pending {{ border-color: light-dark({amber}); }}" in STYLE


def test_an_unknown_run_is_refused(store):
    with pytest.raises(UserError, match="no run 7"):
        export_html(store, 7)
