"""Cards of reconstructions: original, reconstruction and a third picture, scores, and the answer inline."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import streamlit as st

from core.errors import UserError
from core.labels.inline import answer_inline
from core.labels.protocols import PROTOCOLS
from core.report.names import NEAREST, nearest_words, without_loss
from core.report.records import Card
from pages import _annotator, _shared
from pages._pictures import ORIGINAL_WORDS, made_figure, map_figure, original_figure
from pages._scores import beside_html, scores_html
from pages._shared import number

CONTROL_WORDS = {
    "mismatched": "a control: the same attack, given another update",
    "prior": "a control: what the attack makes without any update",
    "easy": "a control: the undefended easy case",
}
FEWEST = 3  # scores: a figure over fewer would tell one that is hidden until its card is answered
UNDRAWN = "undrawn"  # in the session: fragments whose drawing a quick next answer may have cut off
ANSWER_WORDS = {"yes": "recognisable", "no": "not", "unsure": "unsure"}


@dataclass(frozen=True)
class Look:
    """How the cards of a page are drawn."""

    shown: tuple[str, ...]  # metrics on the card at once
    sort: str
    third: str  # which error map
    scores: bool  # shown before they are answered too
    judged: bool  # people judge this kind of reconstruction (not a control)
    scored: frozenset[str]  # metrics that the run has any score of
    comparable: frozenset[str] = frozenset()  # metrics that both runs have in one version

    @property
    def least(self) -> int:
        """How many scores a figure must be over to be shown while cards hide theirs; 0 where they do not."""
        return 0 if self.scores or not self.judged else FEWEST


def draw_card(card: Card, look: Look, other: Card | None = None) -> None:
    """One card; `other` is what the run beside made of the same original.

    The answer is read from the session, where the page put it: the card is a fragment and asks the store nothing.
    """
    visible = is_visible(card, look) and (other is None or is_visible(other, look))
    if other is None:
        scores = scores_html(card, look.shown, look.scored, look.sort) if visible else hidden_html()
    else:
        scores = beside_html(card, other, look.shown, look.comparable, look.sort) if visible else hidden_html(True)
    pictures = trio_html(card, look.third, visible) if other is None else pair_html(card, other)
    st.html(head_html(card, visible) + pictures + scores)
    for one in (card, other):
        if look.judged and one is not None:
            answer_field(one, f"run {one.run}: " if other is not None else "")
    st.session_state.get(UNDRAWN, set()).discard(f"card_{card.reconstruction}")


def is_visible(card: Card, look: Look) -> bool:
    """Whether this card's scores may be seen: answered, switched on, or nothing that people judge."""
    return look.scores or not look.judged or st.session_state.get(answer_key(card.reconstruction)) is not None


def answer_field(card: Card, before: str = "") -> None:
    """The question about one reconstruction, answered in place."""
    st.segmented_control(
        f"{before}is {card.name} recognisable?" if before else f"Is {card.name} recognisable?",
        list(ANSWER_WORDS),
        format_func=ANSWER_WORDS.__getitem__,
        key=answer_key(card.reconstruction),
        label_visibility="visible" if before else "collapsed",
        on_change=store_answer,
        args=(card.reconstruction,),
        width="stretch",
    )


def open_button(card: Card) -> None:
    """The way to the detail view. A page link to the page that one is on leaves the browser's address as it was."""
    st.button(
        "Look closer", icon=":material/compare:", key=f"open_{card.reconstruction}", on_click=go,
        args=(card.reconstruction,), type="tertiary",
    )  # fmt: skip


def go(reconstruction: int | None, page: int | None = None) -> None:
    """Callback: open a reconstruction in the link, or with None the list (at this page)."""
    if reconstruction is None:
        st.query_params.pop("reconstruction", None)
        if page is not None:
            st.session_state["page"] = page
    else:
        st.query_params["reconstruction"] = str(reconstruction)


def answer_key(reconstruction: int) -> str:
    """Where the session holds the answer of this card."""
    return f"answer_{reconstruction}"


def recall_answers(reconstructions: tuple[int, ...], mine: Mapping[int, str]) -> None:
    """Put the annotator's standing answers where the cards of this page look for them."""
    for one in reconstructions:
        st.session_state[answer_key(one)] = mine.get(one)


def store_answer(reconstruction: int) -> None:
    """Callback of a card: store the answer at once, not blind (the original is in view); deselecting takes it back."""
    given = st.session_state.get(answer_key(reconstruction))
    try:
        answer_inline(_shared.get_store(), reconstruction, _annotator.current_annotator(), given)
    except UserError as error:
        st.session_state[answer_key(reconstruction)] = None
        st.toast(_shared.plain(str(error)), icon=":material/error:")
        return
    undrawn = st.session_state.setdefault(UNDRAWN, set())
    undrawn.update(st.session_state.get("drawn_in", {}).get(reconstruction, []))
    if undrawn:
        st.rerun(sorted(undrawn))


def wording() -> str:
    """The question that the cards ask."""
    return PROTOCOLS["recognisable"].wording


# --- parts of a card, as HTML -----------------------------------------------------------------------------
def head_html(card: Card, visible: bool) -> str:
    """Name and label; the loss is in the tooltip once scores may be seen."""
    fit = f"loss {number(card.loss)}, " if visible else ""
    title = f"{fit}{card.iterations} iterations, restart {card.restart}"
    return (
        f'<div class="card-head"><b title="{escape(title)}">{escape(card.name)}</b>'
        f"<span>{escape(label_words(card))}</span></div>{status_html(card, visible)}"
    )


def label_words(card: Card) -> str:
    """The true class, and whether it was drawn."""
    label = card.class_name or (f"label {card.label}" if card.label is not None else "no original")
    return label + (", drawn" if card.label_source == "drawn" else "")


def status_html(card: Card, visible: bool) -> str:
    """What is unusual about a reconstruction: how it ended, how it was paired, what it is compared with."""
    lines = [] if card.status == "ok" else [card.status if visible else without_loss(card.status)]
    if card.role in CONTROL_WORDS:
        lines.append(CONTROL_WORDS[card.role])
    if card.pairing_method == NEAREST:
        lines.append(nearest_words(card.pairing_cost))
    if card.reference == "source":
        lines.append("scored against the un-augmented original")
    return "".join(f'<div class="status">{escape(line)}</div>' for line in lines)


def trio_html(card: Card, third: str, visible: bool) -> str:
    """Original, reconstruction and the chosen error map."""
    figures = [made_figure(card)]
    if card.original_sha is not None:
        original = original_figure(card, "source" if card.reference == "source" else "original")
        figures = [original, *figures, map_figure(card, third, told=visible)]
    return f'<div class="trio">{"".join(figures)}</div>'


def pair_html(card: Card, other: Card) -> str:
    """Original, and what the two runs made of it."""
    figures = (original_figure(card), made_figure(card, f"run {card.run}"), made_figure(other, f"run {other.run}"))
    return f'<div class="trio">{"".join(figures)}</div>'


def hidden_html(both: bool = False) -> str:
    """What stands in place of scores that must not be seen yet."""
    return f'<div class="hidden-scores">Scores are hidden until you answer{" both" if both else ""}.</div>'


def reference_words(reference: str) -> str:
    """What the scores compare with, in a sentence; "" for the usual."""
    return "" if reference == "attacked" else f"Scores compare with the {ORIGINAL_WORDS[reference]}. "
