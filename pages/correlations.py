"""Correlations: any metric against what people recognise, and against any other metric. Updates itself."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from core.errors import UserError
from core.labels.recognition import Recognition, recognition
from core.report.evidence import BESIDE
from core.report.frames import (
    RECOGNITION,
    Axis,
    axis,
    points,
    relate,
    with_recognition,
)
from core.report.present import present_mark
from core.report.references import ATTACKED, REFERENCE_WORDS, SOURCE, references
from core.report.score_frames import labelled_runs, other_version_words, score_frame, stored_metrics
from core.storage.database import change
from core.storage.store import Store
from pages._correlation_figures import figures
from pages._elsewhere import keep_link, made_elsewhere
from pages._links import one_of, or_usual
from pages._plot import Axis as PlotAxis
from pages._plot import Trace, plot, plot_state
from pages._shared import (
    AUDIT_PAGE,
    RUN_PAGE,
    arrow,
    empty_state,
    get_store,
    header,
    image_url,
    number,
    percent,
    picture,
    pictures_html,
    plain,
    query_number,
)

KEY = "correlations_plot"
POLL = 0.7  # seconds; a label given in another tab shows within 2
COUNTERS = ("labels", "scores", "reconstructions")
FEW = 64  # points whose pictures are sent before they are asked for
SHOWN = 12  # selected reconstructions drawn under the plot
MARKS = {
    "recognisable": ("--st-primary-color", "circle"),
    "not recognisable": ("--st-orange-color", "x-thin"),
    "undetermined": ("--st-blue-color", "circle-open"),
    "not labelled": ("--st-gray-color", "diamond-open"),
}


def counters(store: Store) -> tuple[int, ...]:
    """What this page shows has changed when one of these has."""
    with store.database.read() as connection:
        return tuple(change(connection, name) for name in COUNTERS)


@st.cache_resource(show_spinner=False, max_entries=4)
def cached_scores(
    _store: Store, url: str, seen: tuple[int | str, ...], metrics: tuple[str, ...], run: int | None, reference: str
) -> pd.DataFrame:
    return score_frame(_store, metrics, run, reference)


@st.cache_resource(show_spinner=False, max_entries=4)
def cached_recognition(_store: Store, url: str, seen: int, blind_only: bool) -> dict[int, Recognition]:
    return recognition(_store, blind_only=blind_only)


@st.fragment(run_every=POLL)
def watch(store: Store, seen: tuple[int, ...]) -> None:
    """Redraw the page when something changed; costs one small query a time."""
    if counters(store) != seen:
        st.rerun()


def asked(name: str, options: list[str], default: str) -> str:
    """The axis that the link names, or the default; UserError for one that the store has no scores of."""
    wanted = st.query_params.get(name, default)
    if wanted not in options:
        axis(wanted)  # an unknown metric: names its neighbours
        raise UserError(f"Nothing in the store has a score of {wanted} yet; choose one of {', '.join(options)}.")
    return wanted


def asked_run(runs: Mapping[int, str]) -> int:
    """The run that the link names, 0 for all; UserError for one that is not there."""
    run = query_number("run")
    if run is not None and run not in runs:
        raise UserError(f"There is no run {run} with reconstructions; choose one from the list.")
    return run or 0


def label_of(name: str) -> str:
    """An axis in a list: its title and the end that means more leakage."""
    one = axis(name)
    if name == RECOGNITION:
        return one.title
    return f"{one.title} {arrow(one.direction)}{' (diagnostic)' if one.diagnostic else ''}"


def axis_title(one: Axis) -> str:
    """An axis on the plot, with unit and direction."""
    if one.name == RECOGNITION:
        return "Recognition rate (more leakage →)"
    unit = f" / {one.unit}" if one.unit else ""
    if one.diagnostic:
        return f"{one.title}{unit} (diagnostic, {one.direction} = better fit →)"
    return f"{one.title}{unit} ({one.direction} = more leakage →)"


def plot_axis(one: Axis) -> PlotAxis:
    """The axis drawn so that right and up mean more leakage."""
    rate = one.name == RECOGNITION
    return PlotAxis(axis_title(one), one.direction == "lower", (-0.06, 1.06) if rate else None, rate)


def detail(row: Any, x: Axis, y: Axis) -> dict[str, str]:
    """Picture and text of one point's tooltip."""
    metrics = [one for one in (x, y) if one.name != RECOGNITION]
    values = [f"{one.title}: {number(row[one.name])} {one.unit}".rstrip() for one in metrics]
    people = f"{percent(row['recognition'])} of {row['answers']} recognised it" if row["answers"] else "not labelled"
    return {
        "image": image_url(row["image_sha"], 128),
        "text": "\n".join([row["name"], row["run_title"], *values, people]),
    }


@st.fragment
def plot_panel(frame: pd.DataFrame, x: Axis, y: Axis) -> None:
    """The plot and what is selected in it; hovering and selecting rerun only this."""
    state = plot_state(KEY)
    kinds, infinite = points(frame, x, y)
    drawn = sum(len(kind.ids) for kind in kinds)
    wanted = list(frame.index) if len(frame) <= FEW else [one for one in state.asked if one in frame.index]
    plot(
        [
            Trace(kind.state, f"{kind.state} ({len(kind.ids)})", kind.ids, kind.x, kind.y, *MARKS[kind.state])
            for kind in kinds
        ],
        plot_axis(x),
        plot_axis(y),
        key=KEY,
        alt=f"Scatter plot of {drawn} reconstructions: {x.title} against {y.title}, more leakage to the right and up.",
        revision=f"{x.name}|{y.name}",
        facts={"answers": int(frame["answers"].sum())},
        details={one: detail(frame.loc[one], x, y) for one in wanted},
    )
    if infinite:
        noun = "infinite score stands" if infinite == 1 else "infinite scores stand"
        st.caption(f"{infinite} {noun} at the plot's edge.")
    selected = [one for one in state.selected if one in frame.index]
    if selected:
        show_selected(frame.loc[selected])


def show_selected(rows: pd.DataFrame) -> None:
    """Pictures of the selected reconstructions, the first few."""
    more = f", the first {SHOWN} shown" if len(rows) > SHOWN else ""
    st.markdown(f"**{len(rows)} selected**{more}. Double-click the plot to clear.")
    figures = [
        picture(row.image_sha, f"Reconstruction of {row.name_of}, {row.state}", 96, row.name_of)
        for row in rows.head(SHOWN).rename(columns={"name": "name_of"}).itertuples()
    ]
    st.html(pictures_html(figures))
    for run in sorted(rows["run"].unique())[:5]:
        title = rows.loc[rows["run"] == run, "run_title"].iloc[0]
        st.page_link(RUN_PAGE, label=f"Open run {run}: {plain(title)}", query_params={"run": str(run)})


def compare_with(store: Store, run: int | None) -> str:
    """What the scores compare a reconstruction with; asked only where there is a choice."""
    known = references(store, run)
    if len(known) == 1:
        return ATTACKED
    return st.selectbox(
        "Compare with",
        known,
        key="correlations_ref",
        format_func=REFERENCE_WORDS.__getitem__,
        help="The pixels that the victim was given, or the same picture before the defence on the input changed it. "
        "Reconstructions of runs without such a defence have scores of the first kind only.",
    )


def controls(store: Store, names: list[str]) -> tuple[Axis, Axis, int | None, bool, str]:
    """The row of choices; each is in the link."""
    runs = {run: f"{run}: {title}" for run, title in labelled_runs(store).items()}
    remember("x", or_usual(lambda: asked("x", names, names[0]), names[0]))
    remember("y", or_usual(lambda: asked("y", [RECOGNITION, *names], RECOGNITION), RECOGNITION))
    remember("run", or_usual(lambda: asked_run(runs), 0))
    remember("seen", one_of("blind", ("0", "1"), "1") == "0")
    remember("ref", one_of("ref", (ATTACKED, SOURCE), ATTACKED))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = st.selectbox("Metric →", names, key="correlations_x", format_func=label_of)
        others = [RECOGNITION, *(name for name in names if name != x)]
        if st.session_state["correlations_y"] not in others:
            st.session_state["correlations_y"] = RECOGNITION
        y = st.selectbox("against ↑", others, key="correlations_y", format_func=label_of)
        titles = {0: "all runs", **runs}
        run = st.selectbox("Run", list(titles), key="correlations_run", format_func=lambda one: titles[one])
        reference = compare_with(store, run or None)
        seen = st.toggle(f"with {BESIDE}", key="correlations_seen")
    chosen = SOURCE if reference == SOURCE else ""
    keep_link(x=x, y=y, run=str(run or ""), blind="0" if seen else "", ref=chosen)
    return axis(x), axis(y), run or None, not seen, reference


def given_beside(store: Store, url: str, seen: int, frame: pd.DataFrame) -> int:
    """How many answers on these reconstructions were given beside the original, where none was given blind."""
    if frame["answers"].any():
        return 0
    everyone = cached_recognition(store, url, seen, blind_only=False)
    return sum(found.answers for one, found in everyone.items() if one in frame.index)


def remember(name: str, value: object) -> None:
    """Start a choice from the link; once the page is open, the choice itself counts."""
    st.session_state.setdefault(f"correlations_{name}", value)


def own_results(store: Store) -> None:
    """The store's own scores and answers."""
    seen = counters(store)
    names = [metric.name for metric in stored_metrics(store)]
    if not names:
        empty_state(
            "**There are no scores yet.** A run's scores appear here as soon as it is scored.",
            lambda: st.page_link(AUDIT_PAGE, label="Start an audit", icon=":material/play_arrow:"),
        )
        watch(store, seen)
        return
    x, y, run, blind_only, reference = controls(store, names)
    url = store.settings.database_url
    metrics = tuple(one.name for one in (x, y) if one.name != RECOGNITION)
    scores = cached_scores(store, url, (present_mark(store.settings), *seen[1:]), metrics, run, reference)
    frame = with_recognition(scores, cached_recognition(store, url, seen[0], blind_only))
    beside = given_beside(store, url, seen[0], frame) if blind_only else 0
    with st.container():  # of its own: however many lines stand in it, the plot keeps its place, and with it its zoom
        figures(relate(frame, x, y, beside), RECOGNITION in (x.name, y.name))
        if other := other_version_words(scores):
            st.caption(other)
    plot_panel(frame, x, y)
    st.caption(
        "More leakage is to the right and up on every axis, so a score of which lower means more leakage runs "
        "backwards; ρ and τ are of scores oriented that way. Recognition rate = recognised answers / answers"
        f"{', blind answers only' if blind_only else f', with {BESIDE}'}; points are spread a "
        "little where many share a rate. Reconstructions of one original are not independent of each other."
    )
    watch(store, seen)


header("Correlations", "Which scores say the same as people, and as each other?")
the_store = get_store()
own_results(the_store)
made_elsewhere(the_store)
