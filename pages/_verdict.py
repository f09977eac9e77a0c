"""A run's verdict as pages show it. The verdict itself is core's; here are only its words in HTML."""

from collections.abc import Container
from html import escape

import streamlit as st

from core.metrics.registry import METRICS
from core.report.evidence import BESIDE, DEFAULT_METRIC, DEFAULT_VALUE, RunVerdict, run_verdict, threshold
from core.report.labels_recovered import label_recovery
from core.report.names import short_name
from core.report.present import present_mark
from core.report.runs import changes
from core.report.verdict_records import ControlCheck, Evidence, Verdict
from core.report.verdict_words import CONTROL_RULE
from core.report.views import answers_of, image_pairs
from pages import _annotator, _shared
from pages._cards import FEWEST
from pages._pictures import stored_figure
from pages._scores import HIDDEN
from pages._shared import number, percent


@st.cache_data(show_spinner=False, max_entries=64)
def _verdict(home: str, run: int, metric: str, value: float, counters: tuple[int, ...]) -> RunVerdict:
    return run_verdict(_shared.get_store(), run, threshold(metric, value))


def verdict_of(run: int, metric: str = DEFAULT_METRIC, value: float = DEFAULT_VALUE) -> RunVerdict:
    """The verdict of a run; kept until a score, a reconstruction or an answer is added anywhere."""
    store = _shared.get_store()
    counters = changes(store, ("reconstructions", "scores", "labels"))
    where = f"{store.settings.home} {store.settings.database_url} {present_mark(store.settings)}"
    return _verdict(where, run, metric, value, counters)


def threshold_popover(names: tuple[str, ...]) -> None:
    """From which score on an original counts where nobody has answered."""
    usable = [n for n in METRICS if n in names and not METRICS[n].diagnostic] or [DEFAULT_METRIC]
    with st.popover("Threshold", icon=":material/tune:"):
        st.caption("Used where nobody has answered. A convention, not what a person sees.")
        start = usable.index(DEFAULT_METRIC) if DEFAULT_METRIC in usable else 0
        picked = st.selectbox("Metric", usable, index=start, format_func=short_name, key="metric", bind="query-params")
        unit = METRICS[picked].unit
        st.number_input(
            f"Counts as leaked from{' (' + unit + ')' if unit else ''}",
            value=DEFAULT_VALUE if picked == DEFAULT_METRIC else None,
            placeholder=f"default {DEFAULT_VALUE:g} is for {short_name(DEFAULT_METRIC)} only; give one",
            key="cut",
            bind="query-params",
        )


def interval_text(found: Verdict) -> str:
    """The interval in one phrase: share, bounds and method."""
    if found.interval.estimate is None:
        return ""
    low, high = percent(found.interval.low), percent(found.interval.high)
    return f"{percent(found.interval.estimate)}, Wilson 95 % interval {low} to {high}, n = {found.judged}"


def verdict_html(judged: RunVerdict) -> str:
    """The verdict as HTML: headline, interval, notes. All text is escaped."""
    found = judged.verdict
    kind = {"leaks": "leaks", "inconclusive": "inconclusive", "pending": "inconclusive"}.get(found.outcome, "")
    notes = list(found.notes)
    if not judged.blind and found.basis in ("people", "few answers"):
        notes.append(f"These are {BESIDE}, not blind.")
    lines = [f"<p>{escape(interval_text(found))}</p>"] if found.outcome != "pending" else []
    lines += [f'<p class="small">{escape(note)}</p>' for note in notes]
    return f'<div class="verdict {kind}"><h2>{escape(found.headline)}</h2>{"".join(lines)}</div>'


def controls_html(found: Verdict, least: int = 0) -> str:
    """The controls as a table: how near to leakage each came, what it had to stay below, and whether it held.

    What it had to stay below is hidden where it is the median of fewer than `least` scores.
    """
    unit = f" {found.threshold.unit}" if found.threshold.unit else ""
    higher = found.threshold.direction == "higher"
    stay, reach = ("stay below", "reach") if higher else ("stay above", "fall to")
    rows = "".join(
        f"<tr><th>{escape(check.name)}, {check.count}</th>"
        f"<td>{_value(check.score, unit)}</td>"
        f"<td>{_bar(check, reach if check.reaches else stay, unit, least)}</td>"
        f"<td>{escape('failed' if check.failed else 'held' if check.count else 'not run')}</td></tr>"
        for check in found.controls
    )
    head = (
        f'<tr class="head"><th>Control</th><td>{escape(found.threshold.title)}, nearest</td>'
        f"<td>must</td><td>outcome</td></tr>"
    )
    return f'<table class="scores">{head}{rows}</table>'


def _bar(check: ControlCheck, must: str, unit: str, least: int) -> str:
    """What the control must do, "–" where nothing says from when on it fails."""
    if 0 < check.over < least:
        return f"{must} the attack's score, which is {HIDDEN}"
    return "–" if check.against is None else f"{must} {_value(check.against, unit)}"


def _value(value: float | None, unit: str) -> str:
    return number(value) + (escape(unit) if value is not None else "")


def worst_html(found: Verdict, images: dict[int, tuple[str | None, str]], scored: Container[int]) -> str:
    """The worst originals beside their reconstructions; `images` gives the two hashes by reconstruction.

    The score stands only under those in `scored`: whoever has yet to answer must not see it.
    """
    pairs = "".join(
        _worst(entry, found, *images[entry.reconstruction], entry.reconstruction in scored)
        for entry in found.worst
        if entry.reconstruction in images
    )
    return f'<div class="worst-row">{pairs}</div>'


def thumbs_html(found: Verdict, images: dict[int, tuple[str | None, str]]) -> str:
    """The worst originals beside their reconstructions, small and without words."""
    pairs = "".join(_pair(e, *images[e.reconstruction]) for e in found.worst if e.reconstruction in images)
    return f'<div class="thumbs">{pairs}</div>'


def _pair(entry: Evidence, original_sha: str | None, image_sha: str) -> str:
    pair = "".join(
        stored_figure(sha, f"{word} {entry.name}")
        for sha, word in ((original_sha, "Original"), (image_sha, "Reconstruction of"))
        if sha
    )
    return f'<div class="duo">{pair}</div>'


def _worst(entry: Evidence, found: Verdict, original_sha: str | None, image_sha: str, shown: bool) -> str:
    said = f"{entry.recognised} of {entry.answers} recognise" if entry.answers else ""
    unit = f" {found.threshold.unit}" if found.threshold.unit else ""
    scored = f"{found.threshold.title} {number(entry.score)}{unit}" if entry.score is not None else "not scored"
    under = escape(f"{entry.name} · {said or (scored if shown else 'score hidden')}")
    return f'<div class="worst">{_pair(entry, original_sha, image_sha)}<div class="under">{under}</div></div>'


def rule_caption() -> str:
    """The rule for controls, for a help text."""
    return CONTROL_RULE


def panel(run_id: int) -> None:
    """Verdict, worst originals and controls; redrawn with every answer given on this page."""
    metric = st.session_state.get("metric") or DEFAULT_METRIC
    value = st.session_state.get("cut")
    judged = verdict_of(run_id, metric, DEFAULT_VALUE if value is None else value)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.html(verdict_html(judged))
        if judged.verdict.outcome != "pending":
            st.html(controls_html(judged.verdict, 0 if st.session_state.get("scores") else FEWEST))
            st.caption("What makes a control fail", help=CONTROL_RULE)
        recovered = label_recovery(_shared.get_store(), run_id)
        if recovered is not None:
            st.caption(_shared.plain(recovered.sentence))
    with right:
        if judged.verdict.worst:
            images = image_pairs(_shared.get_store(), [e.reconstruction for e in judged.verdict.worst])
            mine = answers_of(_shared.get_store(), _annotator.current_annotator())
            scored = images if st.session_state.get("scores") else mine
            st.html(worst_html(judged.verdict, images, scored))
