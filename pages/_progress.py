"""A run while it runs: state, progress, time left, loss curve, emerging images, and its buttons."""

from collections.abc import Iterable

import streamlit as st

from core.attacks import ATTACKS
from core.errors import UserError
from core.jobs.queue import set_wanted
from core.jobs.rescore import rescore
from core.leakage.threat import ThreatModel
from core.metrics.registry import METRICS, missing_here
from core.models.catalogue import CATALOGUE
from core.report import threat_words
from core.report.names import short_name
from core.report.runs import ACTIVE, Curve, Run, curve, frames, remaining_seconds
from core.report.runs import run as run_of
from core.report.views import role_counts, without_weights
from pages import _shared

POLL_SECONDS = 1.5  # a live panel's clock; a resting one does not poll
FRAMES = 8


def ask(run: int, wanted: str) -> None:
    """Button callback: ask the runner to run, pause or cancel; a refusal becomes a toast."""
    try:
        set_wanted(_shared.get_store(), run, wanted)
    except UserError as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")


def status_line(run: Run) -> str:
    """Markdown: state badge, and what is asked but not done yet."""
    parts = [_shared.state_badge(run.state)]
    if run.wanted == "pause" and run.state in ("queued", "running"):
        parts.append("pausing: saving where it is")
    if run.wanted == "cancel" and run.state in ("queued", "running", "paused"):
        parts.append("cancelling")
    if run.awaits_scores:
        parts.append("scoring")
    elif run.scoring in ("done", "failed", "cancelled"):
        parts.append({"done": "scored", "failed": "scoring failed"}.get(run.scoring, "scoring cancelled"))
    return " ".join(parts)


def progress_bar(run: Run) -> None:
    """How far the run is and how long it will still take."""
    if run.state == "running":
        left = remaining_seconds(_shared.get_store(), run.id)
        text = f"{100 * run.share:.0f} %, step {_shared.count(run.done)} of {_shared.count(run.total)}"
        text += f", at most {_shared.seconds(left)} left" if left is not None else ", measuring the pace"
        st.progress(run.share, text=text if run.total else "preparing")
    elif run.state == "queued":
        st.progress(0.0, text="waiting for the runner")
    elif run.state == "paused":
        st.progress(run.share, text=f"paused at {100 * run.share:.0f} %")


def buttons(run: Run, place: str) -> None:
    """Pause, resume and cancel, as the state allows."""
    live = run.state in ("queued", "running") and run.wanted == "run"
    halted = run.state == "paused" or (run.wanted == "pause" and run.state in ("queued", "running"))
    with st.container(horizontal=True):
        if live:
            st.button(
                "Pause", key=f"{place}_pause_{run.id}", icon=":material/pause:", on_click=ask, args=(run.id, "pause")
            )
        if halted and run.wanted != "cancel":
            st.button(
                "Resume", key=f"{place}_run_{run.id}", icon=":material/play_arrow:", on_click=ask, args=(run.id, "run")
            )
        if (live or halted) and run.wanted != "cancel":
            st.button(
                "Cancel", key=f"{place}_cancel_{run.id}", icon=":material/close:", on_click=ask, args=(run.id, "cancel")
            )


def score_again(run: Run) -> None:
    """A button that scores an ended run anew, where its scoring did not finish or weights were missing for it."""
    if run.live:
        return
    store = _shared.get_store()
    unweighted = [name for name in without_weights(store, run.id) if not missing_here(METRICS[name], store.settings)]
    if run.scoring not in ("failed", "cancelled") and not unweighted:
        return
    told = "What has a score keeps it."
    if unweighted:
        names = ", ".join(short_name(name) for name in unweighted)
        told = f"Weights were missing for {names}, and are here now. {told}"
    st.button(
        "Score again",
        key=f"rescore_{run.id}",
        icon=":material/refresh:",
        type="tertiary",
        help=told,
        on_click=ask_scores,
        args=(run.id,),
    )


def ask_scores(run: int) -> None:
    """Button callback: queue the scores of a run again; a refusal becomes a toast."""
    try:
        rescore(_shared.get_store(), run)
    except UserError as error:
        st.toast(_shared.plain(str(error)), icon=":material/error:")
        return
    _shared.wake_runner()


def settings_rows(run: Run) -> list[dict[str, str]]:
    """What the run was asked, one short row a setting; images are counted, and every knob of the attack is named."""
    asked = run.payload
    model = asked["model"]
    known = CATALOGUE.get(model["architecture"])
    size = f"{model['width']}×{model['height']} pixels, {model['channels']} channels, {model['num_classes']} classes"
    weights = str(model["weights_sha256"])[:12] or f"drawn from seed {model['init_seed']}"
    rows = {
        "Model": (known.title if known else model["architecture"]) + f", {model['origin']}" * bool(model["origin"]),
        "Input": size,
        "Mean and standard deviation": f"{_row(model['mean'])}; {_row(model['std'])}",
        "Weights (start of sha256)": weights,
        "Originals": _shared.count(len(asked["originals"])),
        **threat_words.rows(ThreatModel.from_dict(asked["threat"])),
        "Attack": ATTACKS[asked["attack"]].title if asked["attack"] in ATTACKS else asked["attack"],
        **{f"Attack: {name.replace('_', ' ')}": value for name, value in asked["config"].items()},
        "Seed": asked["seed"],
        "Controls": asked["controls"],
        "Device": asked["device"],
    }
    return [{"setting": name, "value": _shared.plain(str(value))} for name, value in rows.items()]


def _row(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def error_line(run: Run) -> None:
    """Why a run or its scoring failed, in its own sentence."""
    if run.state == "failed":
        st.error(_shared.plain(run.error or "The run failed without a reason."), icon=":material/error:")
    if run.state == "paused" and run.error:  # nobody asked for it: the disk was full
        st.warning(_shared.plain(run.error))
    if run.scoring == "failed":
        st.warning(_shared.plain(f"Scoring failed: {run.scoring_error or 'no reason was stored'}"))


def loss_chart(run: Run) -> None:
    """The attack's own objective so far."""
    found = curve(_shared.get_store(), run.id)
    if not found.steps:
        st.caption("The loss curve appears with the first steps.")
        return
    st.vega_lite_chart(_points(found), _spec(found), height=220, alt=_curve_text(found))


def emerging(run: Run) -> None:
    """The images as they emerge, at most FRAMES of them."""
    found = frames(_shared.get_store(), run.id, FRAMES)
    if not found:
        st.caption("The emerging images appear with the first preview.")
        return
    figures = [
        _shared.picture(f.image_sha, f"Target {f.target} at step {f.step}", width=84, caption=f"step {f.step}")
        for f in found
    ]
    st.html(_shared.pictures_html(figures))


def _points(found: Curve) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for series, values in (("median", found.median), ("lowest", found.lowest)):
        rows += [
            {"step": step, "loss": value, "over the updates": series}
            for step, value in zip(found.steps, values, strict=True)
            if value is not None
        ]
    return rows


def _spec(found: Curve) -> dict[str, object]:
    positive = all(v is None or v > 0 for v in (*found.median, *found.lowest))
    scale = {"type": "log"} if positive else {"zero": False}
    return {
        "mark": {"type": "line", "interpolate": "monotone"},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "title": "step"},
            "y": {
                "field": "loss",
                "type": "quantitative",
                "title": "loss of the attack",
                "scale": scale,
                "axis": {"format": ".0e", "tickCount": 5},
            },
            "color": {
                "field": "over the updates",
                "type": "nominal",
                "sort": ["median", "lowest"],
                "legend": {"orient": "top", "title": None},
            },
        },
    }


def _curve_text(found: Curve) -> str:
    first, last = found.median[0], found.median[-1]
    return (
        f"Loss curve: the median over the updates went from {_shared.number(first)} at step {found.steps[0]} "
        f"to {_shared.number(last)} at step {found.steps[-1]}"
    )


# --- elsewhere --------------------------------------------------------------------------------------------
def follow(current: Run) -> None:
    """Have the page that shows this run drawn anew when the run, or its scoring, comes to another state."""
    if current.live or current.scoring in ACTIVE:
        _watch(current.id, _state(current.id))


def _state(run_id: int) -> tuple[object, ...]:
    """What a page has to say of a run that goes on: its state, its scoring's, and whether anything came out."""
    store = _shared.get_store()
    now = run_of(store, run_id)
    return now.state, now.scoring, bool(role_counts(store, run_id))


@st.fragment(run_every=POLL_SECONDS)
def _watch(run_id: int, seen: tuple[object, ...]) -> None:
    if _state(run_id) != seen:
        st.rerun()
