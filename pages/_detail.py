"""One reconstruction, closely: a slider to its original, its error maps, all scores, and the way to the next."""

import io
from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

import streamlit as st
from PIL import Image

from core.errors import UserError
from core.report.groups import in_order
from core.report.maps import KINDS
from core.report.people import everyones
from core.report.records import Card, Query
from core.report.references import REFERENCE_WORDS
from core.report.views import answers_of, beside_cards, neighbours, run_metrics
from pages import _annotator, _shared
from pages._cards import (
    Look,
    answer_field,
    go,
    head_html,
    hidden_html,
    is_visible,
    pair_html,
    recall_answers,
    reference_words,
    wording,
)
from pages._compare import Side, asked_step, compare
from pages._controls import PAGE_SIZE, filter_words, sort_word
from pages._pictures import (
    ORIGINAL_WORDS,
    legend,
    map_figure,
    map_mean,
    original_png,
    original_url,
    start_waiting,
    wait_for_maps,
)
from pages._scores import PERCENTILES, beside_html, scores_html

SLIDER = "compare"
LARGE = 640  # pixels a side that the slider's pictures may have
PLACES = "detail_places"  # in the session: where previous and next lead


def step() -> None:
    """Callback of the slider's keys."""
    wanted = st.session_state.get(PLACES, {}).get(asked_step(SLIDER))
    if wanted is not None:
        go(wanted)


def way(card: Card, query: Query, classes: Mapping[int, str]) -> tuple[str, ...]:
    """Back, previous and next within the list's order; gives the steps that there are."""
    place, before, after, total = neighbours(_shared.get_store(), query, card.reconstruction)
    st.session_state[PLACES] = {"before": before, "after": after}
    page = None if place is None else place // PAGE_SIZE[st.session_state.get("view") or "cards"] + 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("All of the run", icon=":material/arrow_back:", key="back", on_click=go, args=(None, page))
        st.button(
            "Previous", icon=":material/chevron_left:", key="before", on_click=go, args=(before,),
            disabled=before is None,
        )  # fmt: skip
        st.button(
            "Next", icon=":material/chevron_right:", icon_position="right", key="after", on_click=go, args=(after,),
            disabled=after is None,
        )  # fmt: skip
        order = f"by {sort_word(query.sort)}, {'descending' if query.descending else 'ascending'}"
        filtered = filter_words(query, classes)
        within = f"{order}; {filtered}" if filtered else order
        where = "not among those listed" if place is None else f"{_shared.count(place + 1)} of {_shared.count(total)}"
        st.caption(_shared.plain(f"{where} {within}"))
    return tuple(name for name, found in (("before", before), ("after", after)) if found is not None)


def slider(card: Card, steps: tuple[str, ...]) -> None:
    """Original and reconstruction with the line between them; a sentence where a file is gone."""
    try:
        original, made = original_url(card, LARGE), _shared.image_url(card.image_sha, LARGE)
        png = original_png(card)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/broken_image:")
        return
    if original is None or png is None:
        st.html(_shared.figure(made, f"Reconstruction of {card.name}", caption="reconstruction; it has no original"))
        return
    with Image.open(io.BytesIO(png)) as image:
        size = image.size
    word = "source" if card.reference == "source" else "original"
    compare(
        Side(original, word, f"{ORIGINAL_WORDS[card.reference].capitalize()} {card.name}"),
        Side(made, "reconstruction", f"Reconstruction of {card.name}"),
        key=SLIDER,
        size=size,
        steps=steps,
        on_step=step,
    )


def maps(card: Card, told: bool) -> None:
    """The error maps, each with its scale."""
    start_waiting()
    figures = []
    for kind in KINDS:
        mean = map_mean(card, kind) if told else ""
        under = f'<div class="under">{escape(mean)}</div>' if mean else ""
        figures.append(f"<div>{map_figure(card, kind, told=told)}{under}{legend(kind, titled=False)}</div>")
    st.html(f'<div class="maps">{"".join(figures)}</div>')
    wait_for_maps()


def scores(card: Card, look: Look, other: Card | None) -> None:
    """Every score with percentile and version; those of the run beside too."""
    visible = is_visible(card, look) and (other is None or is_visible(other, look))
    if not visible:
        st.html(hidden_html(other is not None))
        return
    store = _shared.get_store()
    found = run_metrics(store, card.run, card.reference)
    if other is not None:
        st.html(pair_html(card, other) + beside_html(card, other, in_order(card.scores), look.comparable, look.sort))
        return
    versions = {name: one.version for name, one in found.items()}
    st.html(scores_html(card, in_order(card.scores), look.scored, look.sort, versions))
    said = everyones(store).get(card.reconstruction)
    people = f" {said.recognised} of {said.answers} answers recognise it." if said else ""
    st.caption(_shared.plain(f"Loss {_shared.number(card.loss)}, {card.iterations} iterations.{people} {PERCENTILES}"))


def detail(card: Card, query: Query, look: Look, classes: Mapping[int, str]) -> None:
    """The whole view."""
    store = _shared.get_store()
    steps = way(card, query, classes)
    other = beside_cards(store, [card], query).get(card.reconstruction)
    both = (card,) if other is None else (card, other)
    recall_answers(tuple(one.reconstruction for one in both), answers_of(store, query.annotator))
    st.session_state["drawn_in"] = {}
    left, right = st.columns([3, 2], gap="large")
    with left:
        slider(card, steps)
    with right:
        st.html(f'<div class="detail-head">{head_html(card, is_visible(card, look))}</div>')
        if look.judged:
            st.caption(_shared.plain(wording()))
            for one in both:
                answer_field(one, f"run {one.run}: " if other is not None else "")
        if query.beside is not None and other is None:
            st.caption(f"Run {query.beside} has not attacked this original.")
        if query.reference != "attacked":
            st.caption(_shared.plain(reference_words(query.reference)))
        scores(card, look, other)
    maps(card, is_visible(card, look))


def link(card: Card) -> None:
    """The address of this view, to be copied."""
    with st.popover("Link to this view", icon=":material/link:"):
        st.code(_address(card), language=None, wrap_lines=True)


def _address(card: Card) -> str:
    """The address that reopens this view, with order, filter and all else that the page goes by, for another reader."""
    base = (st.context.url or "").split("?")[0]
    words = {name: st.query_params.get_all(name) for name in st.query_params if name != _annotator.NAME_KEY}
    words |= {"run": [str(card.run)], "reconstruction": [str(card.reconstruction)]}
    if card.reference != "attacked":
        words["reference"] = [REFERENCE_WORDS[card.reference]]
    return f"{base}?{urlencode(words, doseq=True)}"
