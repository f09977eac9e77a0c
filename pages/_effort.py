"""What more effort would buy: the run beside its likes with fewer and more steps, and a button that queues them."""

from html import escape

import streamlit as st

from core.errors import UserError
from core.jobs.effort import FACTORS, submit_efforts
from core.report.effort import EffortPoint, effort_curve, effort_name
from core.report.evidence import threshold
from core.report.present import present_mark
from core.report.runs import Run, changes
from pages import _shared
from pages._cards import FEWEST


@st.cache_data(show_spinner=False, max_entries=64)
def _points(home: str, run: int, metric: str, value: float, counters: tuple[int, ...]) -> tuple[EffortPoint, ...]:
    return effort_curve(_shared.get_store(), run, threshold(metric, value))


def panel(current: Run, metric: str, value: float) -> None:
    """The table of efforts and the button, in an expander."""
    store = _shared.get_store()
    counters = changes(store, ("jobs", "reconstructions", "scores", "labels"))
    home = f"{store.settings.home} {store.settings.database_url} {present_mark(store.settings)}"
    points = _points(home, current.id, metric, value, counters)
    if not points:
        return
    with st.expander("What would more effort buy?", icon=":material/trending_up:", key="effort"):
        refused = st.session_state.pop("effort_refused", None)
        if refused:
            st.error(_shared.plain(refused), icon=":material/error:")
        word = effort_name(current.payload)
        if len(points) > 1:
            st.html(table_html(points, current.id, word))
        else:
            st.caption("No run of other effort is in the store yet.")
        times = ", ".join(f"{factor:g}×" for factor in FACTORS)
        st.button(
            f"Queue this attack with {times} the {word}",
            key="effort_queue",
            icon=":material/queue:",
            on_click=_queue,
            args=(current.id,),
            help="Everything else stays as it is. Each is a run of its own: it is scored, and people can judge it.",
        )


def _queue(run: int) -> None:
    """Button callback: whatever was asked before is not asked again."""
    try:
        submit_efforts(_shared.get_store(), run)
    except UserError as error:
        st.session_state["effort_refused"] = str(error)
        return
    _shared.wake_runner()


def table_html(points: tuple[EffortPoint, ...], run: int, word: str = "steps") -> str:
    """One row an effort: steps (`word`), restarts, median score, what leaked, its interval, seconds. Text escaped."""
    cut = points[0].judged.verdict.threshold
    arrow = "↑" if cut.direction == "higher" else "↓"
    unit = f", {cut.unit}" if cut.unit else ""
    head = (
        f"<tr class='head'><th>{escape(word.capitalize())} × restarts</th>"
        f"<td>Median {escape(cut.title)} {arrow}{escape(unit)}</td>"
        "<td>Leaked ↑</td><td>95 % interval</td><td>Time</td></tr>"
    )
    rows = "".join(_row(point, point.run == run) for point in points)
    return f'<table class="scores">{head}{rows}</table>'


def _row(point: EffortPoint, own: bool) -> str:
    found = point.judged.verdict
    hidden = min(found.originals, point.scored) < FEWEST and not st.session_state.get("scores")
    score = "hidden" if hidden and point.score is not None else _shared.number(point.score)
    interval = "–"
    if found.judged and found.interval.estimate is not None:
        interval = f"{_shared.percent(found.interval.low)} to {_shared.percent(found.interval.high)}"
    words = {"people": "recognised", "few answers": "recognised, provisional", "threshold": str(found.threshold)}
    leaked = f"{found.leaked} of {found.judged} {words[found.basis]}" if found.basis in words else point.state
    name = f"{_shared.count(point.steps)} × {point.restarts}{' (this run)' if own else f' (run {point.run})'}"
    cells = (score, leaked, interval, _shared.seconds(point.seconds) if point.seconds is not None else "–")
    return (
        f'<tr class="{"sorted" if own else ""}"><th>{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )
