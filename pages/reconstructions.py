"""Reconstructions of one run: its verdict, then every original beside what the attack made of its update."""

from collections.abc import Mapping

import streamlit as st

from core.errors import UserError
from core.report.evidence import BESIDE, DEFAULT_METRIC, DEFAULT_VALUE
from core.report.export import export_html
from core.report.labels_recovered import label_recovery
from core.report.names import short_name
from core.report.records import LABELS, OTHER_SORTS, CardPage, Query
from core.report.runs import Run, run, runs
from core.report.verdict_words import CONTROL_RULE
from core.report.views import (
    answers_of,
    image_pairs,
    metric_names,
    reconstruction_page,
    role_counts,
    unscored_metrics,
)
from pages import _cards, _effort, _progress, _shared, _verdict

PAGE_SIZE = {"cards": 12, "table": 25}
LISTED = 100
SORT_WORDS = {"target": "target", "loss": "attack loss", "rate": "recognition rate"}  # also the words of the link


def chosen_run() -> Run | None:
    """The run of ?run=, else the newest with results, else the newest; None in an empty store.

    UserError for a link to nothing.
    """
    store = _shared.get_store()
    wanted = _shared.query_number("run")
    if wanted is not None:
        return run(store, wanted)
    newest = runs(store, limit=1, results=True) or runs(store, limit=1)
    return newest[0] if newest else None


def to_first_page() -> None:
    """Callback of every control that changes what is listed."""
    st.session_state["page"] = 1


def open_run() -> None:
    """Callback of the run picker."""
    st.query_params["run"] = str(st.session_state["run_choice"])
    to_first_page()


def pick_run(current: Run | None) -> None:
    """The list of runs; choosing one changes the link."""
    listed = {found.id: found for found in runs(_shared.get_store(), limit=LISTED)}
    if current is not None:
        listed.setdefault(current.id, current)
        st.session_state["run_choice"] = current.id
    st.selectbox(
        "Run",
        list(listed),
        index=None,
        format_func=lambda i: f"{i} · {listed[i].title} · {listed[i].state}",
        key="run_choice",
        on_change=open_run,
        placeholder="choose a run",
    )


def verdict_panel(run_id: int) -> None:
    """Verdict, worst originals and controls; redrawn with every answer given on this page."""
    metric = st.session_state.get("metric") or DEFAULT_METRIC
    value = st.session_state.get("cut")
    judged = _verdict.verdict_of(run_id, metric, DEFAULT_VALUE if value is None else value)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.html(_verdict.verdict_html(judged))
        if judged.verdict.outcome != "pending":
            st.html(_verdict.controls_html(judged.verdict))
            st.caption("What makes a control fail", help=CONTROL_RULE)
        recovered = label_recovery(_shared.get_store(), run_id)
        if recovered is not None:
            st.caption(_shared.plain(recovered.sentence))
    with right:
        if judged.verdict.worst:
            images = image_pairs(_shared.get_store(), [e.reconstruction for e in judged.verdict.worst])
            mine = answers_of(_shared.get_store(), _shared.current_annotator())
            scored = images if st.session_state.get("scores") else mine
            st.html(_verdict.worst_html(judged.verdict, images, scored))


def controls(names: tuple[str, ...], roles: dict[str, int]) -> None:
    """Sorting, filtering and the switch for scores. Every choice is in the link."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Sort by",
            [*OTHER_SORTS, *names],
            format_func=lambda n: SORT_WORDS.get(n) or short_name(n),
            key="sort",
            bind="query-params",
            on_change=to_first_page,
            width=230,
        )
        st.segmented_control(
            "Order",
            ["ascending", "descending"],
            default="ascending",
            required=True,
            key="order",
            bind="query-params",
            on_change=to_first_page,
        )
        st.selectbox("Answers", LABELS, key="label", bind="query-params", on_change=to_first_page, width=160)
        if len(roles) > 1:
            st.selectbox(
                "Made by",
                list(roles),
                help="The attack, or a control: the same attack with a mismatched gradient, the prior alone, or the "
                "undefended easy case.",
                key="role",
                bind="query-params",
                on_change=to_first_page,
                width=160,
            )
        with st.popover("Filter by score", icon=":material/filter_list:", disabled=not names):
            st.selectbox(
                "Metric", ["", *names], format_func=lambda n: short_name(n) if n else "none", key="by",
                bind="query-params", on_change=to_first_page,
            )  # fmt: skip
            st.number_input("At least", value=None, key="least", bind="query-params", on_change=to_first_page)
            st.number_input("At most", value=None, key="most", bind="query-params", on_change=to_first_page)
        st.segmented_control(
            "View", ["cards", "table"], default="cards", required=True, key="view", bind="query-params",
            on_change=to_first_page,
        )  # fmt: skip
        st.toggle(
            "Show scores",
            key="scores",
            bind="query-params",
            help=f"Scores and loss of a card are hidden until you answer it. Answers given on this page are {BESIDE}: "
            "stored as not blind. The Label page is blind.",
        )


def unscored_in_link(missing: Mapping[str, str]) -> None:
    """Say of a metric that the link names and nothing here has a score of why the page does not go by it.

    Called before the controls, which take from the link what they do not offer.
    """
    named = {st.query_params.get(word, "") for word in ("sort", "by", "metric")}
    for name in sorted(named & set(missing)):
        st.info(
            f"The link names {_shared.plain(short_name(name))}, but nothing in this run has a score of it, so the page "
            "does not go by it.",
            icon=":material/info:",
        )


def unscored_line(missing: Mapping[str, str]) -> None:
    """The metrics that nothing in this run has, once, with their reasons."""
    if not missing:
        return
    with st.expander(f"{len(missing)} metric{'' if len(missing) == 1 else 's'} without a score in this run"):
        for name, reason in missing.items():
            st.caption(_shared.plain(f"{short_name(name)}: {reason or 'no reason was stored'}"))


def asked(run_id: int) -> Query:
    """What the controls and the link ask for."""
    state = st.session_state
    return Query(
        run=run_id,
        role=state.get("role") or "attack",
        sort=state.get("sort") or "target",
        descending=state.get("order") == "descending",
        label=state.get("label") or "any",
        annotator=_shared.current_annotator(),
        filter_metric=state.get("by") or "",
        least=state.get("least"),
        most=state.get("most"),
        page=int(state.get("page") or 1),
        size=PAGE_SIZE[state.get("view") or "cards"],
    )


def listing(query: Query, found: CardPage, names: tuple[str, ...]) -> None:
    """One page of cards or rows, and the way to the others."""
    judged, show = query.role == "attack", bool(st.session_state.get("scores"))
    mine = answers_of(_shared.get_store(), query.annotator)
    if st.session_state.get("view") == "table":
        answered = _cards.answered_ids(mine, found.cards)
        hidden = set() if show or not judged else {c.reconstruction for c in found.cards} - answered
        _cards.table(found.cards, names, hidden)
        if hidden:
            st.caption(
                f"Scores and losses of {len(hidden)} rows are hidden until you answer them; *Show scores* shows all."
            )
        return
    _cards.recall_answers(found.cards, mine)
    with st.grid("auto", min_column_width=235):
        for card in found.cards:
            with st.container():
                st.fragment(_cards.draw_card, key=f"card_{card.reconstruction}")(card, query.sort, show, judged)


def pager(found: CardPage, size: int) -> None:
    """Which page of how many."""
    first = (found.page - 1) * size + 1
    last = min(found.total, found.page * size)
    left, right = st.columns([1, 2], vertical_alignment="center")
    left.caption(f"{_shared.count(first)} to {_shared.count(last)} of {_shared.count(found.total)}")
    if found.pages > 1:
        if int(st.session_state.get("page") or 1) > found.pages:
            st.session_state["page"] = found.pages
        right.pagination(found.pages, key="page", bind="query-params")


def body(current: Run) -> None:
    """Everything below the picker, for a run that exists."""
    store = _shared.get_store()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{_progress.status_line(current)} {_shared.plain(current.title)}")
        st.page_link(_shared.AUDIT_PAGE, label="Settings and progress", query_params={"run": str(current.id)})
        _progress.score_again(current)
    _progress.error_line(current)
    roles = role_counts(store, current.id)
    if not roles:
        _shared.empty_state(
            "**No reconstruction yet.** They appear here as soon as the attack has stored them."
            if current.live
            else "**This run has no reconstructions.** It ended before it stored any."
        )
        return
    missing = unscored_metrics(store, current.id)
    names = tuple(name for name in metric_names(store, current.id) if name not in missing)
    unscored_in_link(missing)
    top = st.container()  # filled below, once the controls have taken threshold and switch from the link
    with st.container(horizontal=True):
        _verdict.threshold_popover(names)
        st.download_button(
            "Export as one HTML file",
            data=lambda: export_html(store, current.id),
            file_name=f"semsight-run-{current.id}.html",
            mime="text/html",
            icon=":material/download:",
            on_click="ignore",
            key="export",
        )
    controls(names, roles)
    with top:
        st.fragment(verdict_panel, key="verdict")(current.id)
        cut = st.session_state.get("cut")
        metric = st.session_state.get("metric") or DEFAULT_METRIC
        _effort.panel(current, metric, DEFAULT_VALUE if cut is None else cut)
    query = asked(current.id)
    found = reconstruction_page(store, query)
    if not found.total:
        _shared.empty_state("**Nothing matches.** Widen the filters above.")
        return
    st.caption(_cards.wording())
    listing(query, found, names)
    unscored_line(missing)
    pager(found, query.size)


_shared.header("Reconstructions", "Original, reconstruction and difference side by side; black means equal.")
with _shared.user_errors():
    opened = None
    try:
        opened = chosen_run()
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        pick_run(None)
        st.stop()
    pick_run(opened)
    if opened is None:
        _shared.empty_state(
            "**No run yet.** Start one on the Audit page, or run the demo on the Overview.",
            lambda: st.page_link("pages/overview.py", label="Overview"),
        )
    else:
        body(opened)
