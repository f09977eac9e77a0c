"""Audit: model, images, threat model and attack on one page; launch it, watch it run, find it again."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.errors import UserError
from core.jobs.compose import AttackRequest, check, submit_attack
from core.models.presets import PRESETS
from core.report.runs import run, runs
from pages import (
    _audit_attack,
    _audit_defence,
    _audit_forecast,
    _audit_images,
    _audit_model,
    _audit_threat,
    _progress,
    _shared,
)
from pages._links import obey

HISTORY = 10


def launch(request: AttackRequest, anew: bool = False) -> None:
    """Button callback: store and queue; the page then shows that run."""
    try:
        submitted = submit_attack(_shared.get_store(), request, anew=anew)
    except UserError as error:
        st.session_state["refused"] = str(error)
        return
    st.session_state["asked"] = (request, submitted.already, submitted.state)
    st.query_params["run"] = str(submitted.job_id)
    _shared.wake_runner()


def watched_run() -> None:
    """The run of ?run=: a live panel while anything may change, a still one afterwards."""
    wanted = _shared.query_number("run")
    if wanted is None:
        return
    current = run(_shared.get_store(), wanted)
    st.session_state["watched_live"] = current.live
    st.fragment(panel, run_every=_progress.POLL_SECONDS if current.live else None)(wanted)


def panel(run_id: int) -> None:
    """One run: state, bar, buttons, curve, emerging images."""
    current = run(_shared.get_store(), run_id)
    if st.session_state.get("watched_live") and not current.live:
        st.rerun()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Run {current.id}: {_shared.plain(current.title)}** {_progress.status_line(current)}")
            if current.state == "done":
                st.page_link(_shared.RUN_PAGE, label="Verdict and reconstructions", query_params={"run": str(run_id)})
        already_there()
        _progress.error_line(current)
        _progress.progress_bar(current)
        _progress.buttons(current, "audit")
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _progress.loss_chart(current)
        with right:
            _progress.emerging(current)
        with st.expander("Settings of this run"):
            st.table(_progress.settings_rows(current), alt="Settings of this run")


def already_there() -> None:
    """Say when the same question had been asked before, and offer to run it anew."""
    asked = st.session_state.get("asked")
    if asked is None or not asked[1]:
        return
    request, _, state = asked
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"The same run was in the store already ({state}): nothing was queued.")
        st.button("Run it anew", key="anew", on_click=launch, args=(request, True))


def history() -> None:
    """All runs, newest first."""
    page = int(st.session_state.get("history") or 1)
    found = runs(_shared.get_store(), limit=HISTORY + 1, offset=(page - 1) * HISTORY)
    st.subheader("History", anchor=False)
    if not found and page == 1:
        st.caption("No run yet. The defaults above are a good first one.")
        return
    st.session_state["history_live"] = busy = any(entry.live for entry in found[:HISTORY])
    st.fragment(history_rows, run_every=_progress.POLL_SECONDS if busy else None)(page)
    if page > 1 or len(found) > HISTORY:
        st.pagination(page + (1 if len(found) > HISTORY else 0), key="history", bind="query-params")


def history_rows(page: int) -> None:
    """One page of the history; redrawn while a run of it lives, so that its states stay true."""
    found = runs(_shared.get_store(), limit=HISTORY, offset=(page - 1) * HISTORY)
    if st.session_state.get("history_live") and not any(entry.live for entry in found):
        st.rerun()
    for entry in found:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{_shared.state_badge(entry.state)} Run {entry.id}: {_shared.plain(entry.title)}", width="stretch"
            )
            st.caption(f"{_shared.when(entry.created)}, {_shared.took(entry.started, entry.finished)}")
            st.page_link(
                "pages/audit.py", label="Watch" if entry.live else "Settings", query_params={"run": str(entry.id)}
            )
            st.page_link(_shared.RUN_PAGE, label="Reconstructions", query_params={"run": str(entry.id)})


def _cards() -> list[DeltaGenerator]:
    """The five cards in their order, two columns of them; assets/style.css puts them in order on a phone too."""
    places: dict[int, DeltaGenerator] = {}
    with st.container(key="audit_cards"):
        for column, numbers in zip(st.columns(2, gap="small"), ((1, 3, 4), (2, 5)), strict=True):
            for number in numbers:
                places[number] = column.container(border=True, key=f"audit_card_{number}")
    return [places[number] for number in sorted(places)]


def composer() -> None:
    """The five choices, and the launch."""
    refused = st.session_state.pop("refused", None)
    _audit_attack.settle()
    model_card, images_card, threat_card, defence_card, attack_card = _cards()
    with model_card:
        model = _audit_model.choose()
    with images_card:
        images = _audit_images.choose(model)
    with threat_card:
        threat, sound = _audit_threat.choose_threat(model, None if images is None else len(images.prepared))
    with defence_card:
        threat, defended = _audit_defence.choose_defences(threat, model.spec if model else None)
    with attack_card:
        attack, config, seed, controls, device = _audit_attack.choose_attack(threat, model.spec if model else None)
    if refused:
        st.error(_shared.plain(refused), icon=":material/error:")
    if model is None or images is None or config is None or not sound or not defended:
        st.button("Launch", type="primary", disabled=True, key="launch")
        lacking = {
            "1 Model": _audit_model.missing() if model is None else "",
            "2 Images": _audit_images.missing(images is None)
            or ("the images or their labels are refused" if model and images is None else ""),
            "3 Threat model": "" if sound else "its choices do not go together",
            "4 Defences": "" if defended else "a choice or a setting is refused",
            "5 Attack": "a setting is refused" if config is None else "",
        }
        named = ". ".join(f"**{part}**: {what}" for part, what in lacking.items() if what)
        st.caption(f"Before the launch: {named}.")
        return
    request = AttackRequest(
        spec=model.spec,
        model_name=model.name,
        weights=model.weights(),
        dataset=images.dataset,
        prepared=images.prepared,
        attack=attack,
        config=config,
        threat=threat,
        seed=seed,
        controls=min(controls, len(images.prepared)),
        device=device,
    )
    ready_to_launch(request)


def ready_to_launch(request: AttackRequest) -> None:
    """What to expect, and the button; what cannot run is said here, before anything is stored."""
    try:
        check(request)
    except UserError as error:
        st.warning(_shared.plain(str(error)), icon=":material/error:")
        st.button("Launch", type="primary", disabled=True, key="launch")
        return
    _audit_forecast.warnings(request)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Launch", type="primary", icon=":material/play_arrow:", key="launch", on_click=launch, args=(request,)
        )
        with st.container(width="stretch"):
            _audit_forecast.time(request)


_shared.header("Audit", "Attack a model with images of your choice, and see what its shared update gives away.")
with _shared.user_errors():
    obey(
        **{
            "from": "preset",
            "model": next(iter(PRESETS)),
        }
    )
    try:
        watched_run()
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
    composer()
    history()
