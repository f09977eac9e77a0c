"""Reconstructions of one run: its verdict, then every original beside what the attack made of its update."""

from collections.abc import Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.errors import UserError
from core.report.beside import Sharing, comparable_metrics
from core.report.columns import run_table
from core.report.evidence import DEFAULT_METRIC, DEFAULT_VALUE
from core.report.export import export_html
from core.report.names import short_name
from core.report.records import Card, CardPage, Query
from core.report.references import references
from core.report.runs import Run, run
from core.report.views import (
    answers_of,
    card,
    class_names,
    metric_names,
    reconstruction_page,
    role_counts,
    scored_anew,
    unscored_metrics,
)
from pages import _cards, _controls, _detail, _effort, _pictures, _progress, _runs, _shared, _summary, _table, _verdict
from pages._scores import PERCENTILES


def unscored_in_link(missing: Mapping[str, str]) -> None:
    """Say of a metric that the link names and nothing here has a score of why the page does not go by it.

    Called before the controls, which take from the link what they do not offer.
    """
    named = {st.query_params.get(word, "") for word in ("sort", "by", "metric")}
    for name in sorted(missing):
        if {name, short_name(name)} & named:
            st.info(
                f"The link names {_shared.plain(short_name(name))}, but nothing in this run has a score of it, so the "
                "page does not go by it.",
                icon=":material/info:",
            )


def unscored_line(missing: Mapping[str, str]) -> None:
    """The metrics that nothing in this run has, once, with their reasons."""
    if not missing:
        return
    with st.expander(f"{len(missing)} metric{'' if len(missing) == 1 else 's'} without a score in this run"):
        for name, reason in missing.items():
            st.caption(_shared.plain(f"{short_name(name)}: {reason or 'no reason was stored'}"))


def anew_line(run_id: int, reference: str) -> None:
    """The metrics whose older version is shown while they are scored anew."""
    words = scored_anew(_shared.get_store(), run_id, reference)
    if words:
        st.caption(_shared.plain(words))


def listing(query: Query, found: CardPage, look: _cards.Look) -> None:
    """One page of cards or rows, and the way to the others."""
    mine = answers_of(_shared.get_store(), query.annotator)
    seen = (*found.cards, *found.others.values())
    _cards.recall_answers(tuple(one.reconstruction for one in seen), mine)
    if st.session_state.get("view") == "table":
        rows(query, found, look)
        return
    st.session_state["drawn_in"] = {
        one: [f"card_{shown.reconstruction}", "verdict"]
        for shown in found.cards
        for one in (shown.reconstruction, *(other.reconstruction for other in beside_of(found, shown)))
    }
    st.session_state[_cards.UNDRAWN] = set()
    _pictures.start_waiting()
    with st.grid("auto", min_column_width=235 if query.beside is None else 300):
        for one in found.cards:
            other = found.others.get(one.reconstruction)
            with st.container(border=True):
                st.fragment(_cards.draw_card, key=f"card_{one.reconstruction}")(one, look, other)
                _cards.open_button(one)
    _pictures.wait_for_maps()


def beside_of(found: CardPage, shown: Card) -> tuple[Card, ...]:
    """What the run beside made of the same original, if there is one."""
    return (found.others[shown.reconstruction],) if shown.reconstruction in found.others else ()


def rows(query: Query, found: CardPage, look: _cards.Look) -> None:
    """The page as a table; scores of rows without an answer stay empty."""
    hidden = {
        one.reconstruction
        for one in found.cards
        if not all(_cards.is_visible(c, look) for c in (one, *beside_of(found, one)))
    }
    if query.beside is None:
        _table.table(found.cards, look.shown, hidden)
    else:
        shown = tuple(name for name in look.shown if name in look.comparable)
        _table.beside_table(found.cards, found.others, shown, hidden)
    if hidden:
        st.caption(f"Scores and losses of {len(hidden)} rows are hidden until you answer; *Show scores* shows all.")


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


def head(current: Run) -> DeltaGenerator:
    """State and title of the run, with what can be done about it; gives the row, which takes more."""
    row = st.container(horizontal=True, vertical_alignment="center")
    with row:
        st.markdown(f"{_progress.status_line(current)} {_shared.plain(current.title)}", width="content")
        st.page_link(_shared.AUDIT_PAGE, label="Settings and progress", query_params={"run": str(current.id)})
        _progress.score_again(current)
    _progress.error_line(current)
    return row


def offer(
    current: Run, roles: dict[str, int], missing: Mapping[str, str], beside: Sharing | None, refs: tuple[str, ...]
) -> _controls.Choices:
    """What this run offers to choose from; says what the link asks for beyond it."""
    store = _shared.get_store()
    reference = _controls.reference_asked(refs)
    names = tuple(name for name in metric_names(store, current.id, reference) if name not in missing)
    classes = class_names(store, current.id, reference)
    choices = _controls.Choices(names, tuple(roles), classes, refs, beside)
    unscored_in_link(missing)
    told = {short_name(name) for name in missing} | set(missing)
    for problem in _controls.link_problems(choices):
        if not any(repr(word) in problem for word in told):
            st.info(_shared.plain(problem), icon=":material/info:")
    return choices


def common(query: Query) -> frozenset[str]:
    """The metrics that can be held against the run beside."""
    if query.beside is None:
        return frozenset()
    store = _shared.get_store()
    tables = [run_table(store, one, query.role, query.reference) for one in (query.run, query.beside)]
    return comparable_metrics(*tables)


def caption(query: Query, look: _cards.Look) -> None:
    """What the cards show, once: the question, the scores' directions and percentiles, the third picture's scale."""
    words = _cards.reference_words(query.reference)
    if query.beside is None:
        st.caption(_shared.plain(f"{_cards.wording()} {words}{PERCENTILES}"))
        if st.session_state.get("view") != "table":
            st.html(_pictures.legend(look.third))
    else:
        st.caption(
            _shared.plain(
                f"{_cards.wording()} {words}Only originals that both runs attacked. ◀︎ run {query.run} leaks more of "
                f"it, ▶︎ run {query.beside} does."
            )
        )


def body(current: Run, opened: Card | None, place: DeltaGenerator) -> None:
    """Everything below the picker, for a run that exists; `place` takes the choice of the run beside it."""
    store = _shared.get_store()
    row = head(current)
    _progress.follow(current)
    roles = role_counts(store, current.id)
    if not roles:
        _shared.empty_state(
            "**No reconstruction yet.** They appear here as soon as the attack has stored them."
            if current.live
            else "**This run has no reconstructions.** It ended before it stored any."
        )
        return
    with place:
        beside = _runs.pick_beside(current.id)
    refs = references(store, current.id)
    missing = unscored_metrics(store, current.id, _controls.reference_asked(refs))
    choices = offer(current, roles, missing, beside, refs)
    if opened is not None:
        closely(current, opened, choices)
        return
    overview(current, choices, missing, row)


def closely(current: Run, opened: Card, choices: _controls.Choices) -> None:
    """One reconstruction; the list's controls are folded away below it, so that they keep their place in the link."""
    row, top = st.container(horizontal=True, vertical_alignment="bottom"), st.container()
    with row:
        _controls.reference_control(choices)
        _controls.scores_switch()
        _detail.link(opened)
    with st.expander("Order and filter of previous and next, and what the list shows"):
        _controls.order_controls(choices)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _controls.map_control(choices)
            _controls.shown_control(choices)
            _verdict.threshold_popover(choices.names)
    query = _controls.asked(current.id, choices)
    with top:
        shown = card(_shared.get_store(), opened.reconstruction, query.reference)
        _detail.detail(shown, query, _controls.look(choices, query, common(query)), choices.classes)
        anew_line(current.id, query.reference)


def overview(current: Run, choices: _controls.Choices, missing: Mapping[str, str], row: DeltaGenerator) -> None:
    """Verdict, summary and the page of cards or rows; `row` takes the buttons for the whole run."""
    store = _shared.get_store()
    top = st.container()  # filled below, once the controls have taken threshold and switch from the link
    with row:
        _verdict.threshold_popover(choices.names)
        st.download_button(
            "Export as one HTML file",
            data=lambda: export_html(store, current.id),
            file_name=f"semsight-run-{current.id}.html",
            mime="text/html",
            icon=":material/download:",
            on_click="ignore",
            key="export",
        )
    middle = st.container()
    _controls.order_controls(choices)
    _controls.look_controls(choices)
    query = _controls.asked(current.id, choices)
    look = _controls.look(choices, query, common(query))
    with top:
        st.fragment(_verdict.panel, key="verdict")(current.id)
        cut = st.session_state.get("cut")
        metric = st.session_state.get("metric") or DEFAULT_METRIC
        if query.reference != "attacked":
            st.caption("Headline, controls and pictures above compare with the attacked pixels, as always.")
        _effort.panel(current, metric, DEFAULT_VALUE if cut is None else cut)
    with middle:
        if len(run_table(store, current.id, query.role).ids) >= look.least:
            _summary.summary_panel(query, look.shown, look.least)
            if choices.beside is not None:
                _summary.duel_panel(query, choices.beside, look.least)
        anew_line(current.id, query.reference)
    found = reconstruction_page(store, query)
    filtered = _controls.filter_words(query, choices.classes)
    if filtered:
        st.caption(_shared.plain(f"Shown: {filtered}; {_shared.count(found.total)} of them."))
    if not found.total:
        _shared.empty_state("**Nothing matches.** Widen the filters above.")
        return
    caption(query, look)
    listing(query, found, look)
    unscored_line(missing)
    pager(found, query.size)


def chosen_reconstruction() -> Card | None:
    """The one of ?reconstruction=; UserError for a link to nothing."""
    wanted = _shared.query_number("reconstruction")
    return None if wanted is None else card(_shared.get_store(), wanted)


_shared.header("Reconstructions", "Every original beside what the attack made of its update.")
with _shared.user_errors():
    opened, closer = None, None
    try:
        closer = chosen_reconstruction()
        opened = run(_shared.get_store(), closer.run) if closer is not None else _runs.chosen_run()
        if closer is not None and st.session_state.get("role", "attack") != closer.role:
            st.session_state["role"] = closer.role  # a link to a control is among controls
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        _runs.pick_run(None)
        st.stop()
    left, right = st.columns(2, gap="small")
    with left:
        _runs.pick_run(opened)
    if opened is None:
        _shared.empty_state(
            "**No run yet.** Start one on the Audit page, or run the demo on the Overview.",
            lambda: st.page_link("pages/overview.py", label="Overview"),
        )
    else:
        body(opened, closer, right)
