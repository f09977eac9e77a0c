"""Metrics: what each score sees and misses, where they contradict each other on one picture, and their weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from core.jobs.aside import Answer, example_scores
from core.metrics.base import Score
from core.metrics.registry import METRICS
from core.report.examples import BASES, SIDE, base, examples, original
from core.report.guide import KINDS, Note, filtered, guide_csv, notes, weights_notes
from core.report.names import short_name
from core.report.ranks import RankTable, compared, departures, dispute, rank_table
from core.storage.artifacts import encode_png
from pages import _metrics_cards, _metrics_figure, _metrics_link, _metrics_weights, _shared

CSS = Path(__file__).resolve().parent.parent / "assets" / "metrics.css"
PICTURES = {one.picture: one.title for one in BASES}
DEFAULT_METRIC, DEFAULT_PICTURE = "psnr", BASES[0].picture
POLL = 0.7  # seconds, only while scores are computed
VIEWS = ("cards", "table")
KIND_WORDS = {"all": "every kind", **{kind: kind for kind in KINDS}}
HERE_WORDS = {"all": "anywhere", "available": "available here", "missing": "not available", "weights": "needs weights"}


def choices(found: Sequence[Note]) -> None:
    """Picture and metric, from the link or as chosen."""
    titles = {note.name: f"{note.short} {note.arrow}".strip() for note in found}
    shorts = {note.short: note.name for note in found}
    _metrics_link.take("metric", list(titles), DEFAULT_METRIC, "metric", shorts)
    _metrics_link.take("picture", list(PICTURES), DEFAULT_PICTURE, "example picture")
    _metrics_link.take("list", VIEWS, VIEWS[0], "list")
    _metrics_link.take("kind", list(KIND_WORDS), "all", "kind of metric")
    _metrics_link.take("here", list(HERE_WORDS), "all", "choice")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Picture",
            list(PICTURES),
            format_func=PICTURES.__getitem__,
            required=True,
            key=_metrics_link.key("picture"),
            on_change=_metrics_link.keep,
            args=("picture", DEFAULT_PICTURE),
        )
        st.selectbox(
            "Metric to study",
            list(titles),
            format_func=titles.__getitem__,
            key=_metrics_link.key("metric"),
            on_change=_metrics_link.keep,
            args=("metric", DEFAULT_METRIC),
            width=260,
        )


def ask(picture: str, asked: frozenset[str]) -> tuple[dict[str, list[Score]], list[str], str]:
    """Scores that are known, metrics that are still computed, and what went wrong, if anything."""
    pairs = [(original(picture), one.pixels) for one in examples(picture)]
    classes, originals = [base(picture).label] * len(pairs), [picture] * len(pairs)
    names = [name for name in compared(list(METRICS)) if name in asked]
    networks = [name for name in names if METRICS[name].needs or METRICS[name].packages]
    groups = [[name for name in names if name not in networks], *([name] for name in networks)]
    scores: dict[str, list[Score]] = {}
    waiting: list[str] = []
    problem = ""
    for group in groups:  # the quick ones are there before any network is loaded, and each network on its own
        answer: Answer = example_scores(_shared.settings(), pairs, group, classes, originals)
        if not answer.ready:
            waiting += group
        elif answer.problem:
            problem = problem or answer.problem
        else:
            scores |= answer.value
    return scores, waiting, problem


def worked_example(picture: str, found: Sequence[Note], metric: str) -> None:
    """The figure, what it shows, and the chosen metric beside it."""
    asked = frozenset(note.name for note in found if note.worth_asking)
    scores, waiting, problem = ask(picture, asked)
    table = rank_table(scores)
    versions = examples(picture)
    titles = [one.title for one in versions]
    url = _shared.data_url(encode_png(original(picture)))
    st.html(_metrics_figure.matrix(url, picture, versions, table, waiting, metric))
    if problem:
        st.error(_shared.plain(problem), icon=":material/error:")
    st.caption(
        f"Large: rank, 1 = this metric says that most leaks; more colour = more. Small: the score. {SIDE}×{SIDE} "
        "pixels, computed on this machine. What a person sees is our own grouping, no answers: a metric that agreed "
        "with it would have its colour on the left."
    )
    if waiting:
        st.caption(f":material/progress_activity: Computing {len(waiting)} of {len(waiting) + len(scores)} metrics …")
        watch(picture, asked, tuple(waiting))
    else:
        st.markdown(_shared.plain(dispute(table, titles)))
    briefs = {note.name: note.brief for note in found if note.name in compared(list(METRICS))}
    reasons = {name: brief for name, brief in briefs.items() if name not in asked} | dict(table.unscored)
    unscored(reasons)
    study(picture, next(note for note in found if note.name == metric), table, reasons, bool(waiting))


def unscored(reasons: Mapping[str, str]) -> None:
    """The metrics that have no row in the figure, with the reason."""
    if reasons:
        with st.expander(f"{len(reasons)} metric{'' if len(reasons) == 1 else 's'} without a score here, and why"):
            for name, reason in reasons.items():
                st.caption(_shared.plain(f"{short_name(name)}: {reason}"))


@st.fragment(run_every=POLL)
def watch(picture: str, asked: frozenset[str], waiting: tuple[str, ...]) -> None:
    """Redraw the page when more scores are there."""
    if tuple(ask(picture, asked)[1]) != waiting:
        st.rerun()


def study(picture: str, note: Note, table: RankTable, reasons: Mapping[str, str], waiting: bool) -> None:
    """One metric: what it sees and misses, where its ranking departs from the others', its record."""
    with st.container(border=True, key="study"):
        left, right = st.columns([3, 2], gap="medium")
        with left:
            st.html(_metrics_cards.title_html(note) + _metrics_cards.insight_html(note))
            versions = examples(picture)
            found = departures(table, note.name, [one.title for one in versions])
            if found:
                st.caption("Where its rank departs most from the other metrics' median rank on this picture:")
                st.html(_metrics_figure.departures_html(picture, versions, found))
            elif note.name in table.rows and not waiting:
                st.caption("On this picture it ranks every version much as the other metrics do.")
            elif note.name in reasons:
                st.caption(_shared.plain(f"It has no score on this picture: {reasons[note.name]}"))
            elif note.kind != "pair":
                st.caption(f"It {KINDS[note.kind]}, so it takes no part in the figure above.")
        right.html(_metrics_cards.facts_html(note))


def all_metrics(found: Sequence[Note]) -> None:
    """Every metric at a glance, filtered, as cards or a table."""
    st.subheader("All metrics", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, words, label, width in (
            ("kind", KIND_WORDS, "Kind", 150),
            ("here", HERE_WORDS, "Here", 170),
        ):
            st.selectbox(
                label,
                list(words),
                format_func=words.__getitem__,
                key=_metrics_link.key(name),
                on_change=_metrics_link.keep,
                args=(name, "all"),
                width=width,
            )
        st.segmented_control(
            "View",
            VIEWS,
            required=True,
            key=_metrics_link.key("list"),
            on_change=_metrics_link.keep,
            args=("list", VIEWS[0]),
        )
        st.download_button(
            "Download as CSV",
            data=lambda: guide_csv(shown),
            file_name="semsight-metrics.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="guide_csv",
        )
    kind, here = (str(st.session_state[_metrics_link.key(name)]).replace("all", "") for name in ("kind", "here"))
    shown = filtered(found, kind, here)
    available = sum(note.available for note in found)
    st.caption(f"{len(shown)} of {len(found)} shown; {available} of {len(found)} can be computed on this machine.")
    if not shown:
        _shared.empty_state("**No metric matches.** Widen the filters above.")
    elif st.session_state[_metrics_link.key("list")] == "table":
        _metrics_cards.table(shown)
    else:
        st.html(_metrics_cards.cards_html(shown))


_shared.header("Metrics", "What each score sees, what it misses, and where scores contradict each other.")
st.html(CSS)
with _shared.user_errors():
    every = notes(_shared.settings())
    choices(every)
    worked_example(st.session_state[_metrics_link.key("picture")], every, st.session_state[_metrics_link.key("metric")])
    all_metrics(every)
    st.subheader("Weights", anchor=False)
    st.caption("Pretrained networks that some metrics need; taken in only when the checksum is the published one.")
    _metrics_weights.panel(weights_notes(_shared.settings()))
