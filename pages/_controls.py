"""Sorting, filtering and display of the Reconstructions page. Every choice is in the link."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from core.report.beside import Sharing
from core.report.evidence import BESIDE
from core.report.groups import first_shown, in_order
from core.report.maps import KINDS
from core.report.names import short_name
from core.report.records import DIFFERENCE, LABELS, OTHER_SORTS, Query
from core.report.references import REFERENCE_WORDS
from pages import _annotator, _shared
from pages._cards import Look

PAGE_SIZE = {"cards": 12, "table": 25}
SORT_WORDS = {
    "target": "target", "loss": "attack loss", "rate": "recognition rate", "answers": "answers",
    "agreement": "agreement",
}  # also the words of the link  # fmt: skip
NUMBERS = ("least", "most", "cut", "page")
HELP_ROLE = "The attack, or a control: a mismatched gradient, the prior alone, or the undefended easy case."
HELP_LABEL = (
    "By answers, those given beside the original included. Contested: some recognised it, some did not (unsure counts "
    "as not). Agreement: the share of the majority, with two answers or more."
)
HELP_SORT = (
    "A gap is this run's score less the other run's, turned so that more means that this run leaks more. Sorting or "
    "filtering by a score tells something of scores that are hidden."
)
HELP_SCORES = (
    f"Scores and loss of a card are hidden until you answer it. Answers given on this page are {BESIDE}: "
    "stored as not blind. The Label page is blind."
)
HELP_REFERENCE = (
    "Attacked pixels: what the victim was given. Un-augmented original: the picture before a defence of the input "
    "changed it."
)


@dataclass(frozen=True)
class Choices:
    """What this run offers to choose from."""

    names: tuple[str, ...]  # metrics with a score
    roles: tuple[str, ...]
    classes: Mapping[int, str]  # true classes of the run's originals, with their names
    references: tuple[str, ...]
    beside: Sharing | None  # the run beside this one

    @property
    def sorts(self) -> tuple[str, ...]:
        """All that can be sorted by; gaps only with a run beside."""
        names = tuple(name for name in self.names if name != "attack_loss")  # it is among OTHER_SORTS, as loss
        gaps = tuple(f"{DIFFERENCE}{name}" for name in names) if self.beside else ()
        return (*OTHER_SORTS, *names, *gaps)


def sort_word(name: str) -> str:
    """A sort as people and links call it."""
    if name.startswith(DIFFERENCE):
        return f"gap in {short_name(name.removeprefix(DIFFERENCE))}"
    return SORT_WORDS.get(name) or short_name(name)


def class_word(classes: Mapping[int, str], label: int | None) -> str:
    """A true class as people and links call it."""
    if label is None:
        return "any"
    return f"{label} {classes[label]}" if classes.get(label) else str(label)


def to_first_page() -> None:
    """Callback of every control that changes what is listed."""
    st.session_state["page"] = 1


def link_problems(choices: Choices) -> list[str]:
    """A sentence for each choice of the link that this run does not offer. Call it before the controls are drawn."""
    offered: dict[str, Sequence[str]] = {
        "sort": [sort_word(name) for name in choices.sorts],
        "order": ("ascending", "descending"),
        "label": LABELS,
        "role": choices.roles,
        "class": [class_word(choices.classes, label) for label in (None, *choices.classes)],
        "by": ["none", *(short_name(name) for name in choices.names)],
        "shown": [short_name(name) for name in choices.names],
        "map": [kind.title for kind in KINDS.values()],
        "view": tuple(PAGE_SIZE),
        "reference": [REFERENCE_WORDS[name] for name in choices.references],
    }
    found = []
    for name, words in offered.items():
        wrong = [value for value in st.query_params.get_all(name) if value not in words]
        if wrong:
            found.append(f"The link's {name} is {wrong[0][:40]!r}, which this run does not offer; the usual is shown.")
    for name in NUMBERS:
        value = st.query_params.get(name, "0")
        if not _is_number(value):
            found.append(f"The link's {name} must be a number, not {value[:40]!r}; it is left out.")
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def order_controls(choices: Choices) -> None:
    """What is listed, and in which order."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Sort by", choices.sorts, format_func=sort_word, key="sort", bind="query-params", on_change=to_first_page,
            width=210, help=HELP_SORT,
        )  # fmt: skip
        st.segmented_control(
            "Order", ["ascending", "descending"], default="ascending", required=True, key="order",
            bind="query-params", on_change=to_first_page,
        )  # fmt: skip
        st.selectbox(
            "Answers", LABELS, key="label", bind="query-params", on_change=to_first_page, help=HELP_LABEL, width=170
        )
        with st.popover("Filter", icon=":material/filter_list:"):
            _filters(choices)
        st.segmented_control(
            "View", list(PAGE_SIZE), default="cards", required=True, key="view", bind="query-params",
            on_change=to_first_page,
        )  # fmt: skip


def _filters(choices: Choices) -> None:
    if len(choices.roles) > 1:
        st.selectbox("Made by", choices.roles, help=HELP_ROLE, key="role", bind="query-params", on_change=to_first_page)
    if len(choices.classes) > 1:
        st.selectbox(
            "True class", [None, *choices.classes], format_func=lambda one: class_word(choices.classes, one),
            key="class", bind="query-params", on_change=to_first_page,
        )  # fmt: skip
    if choices.names:
        st.selectbox(
            "Score", ["", *choices.names], format_func=lambda n: short_name(n) if n else "none", key="by",
            bind="query-params", on_change=to_first_page,
        )  # fmt: skip
        st.number_input("At least", value=None, key="least", bind="query-params", on_change=to_first_page)
        st.number_input("At most", value=None, key="most", bind="query-params", on_change=to_first_page)


def look_controls(choices: Choices) -> None:
    """How each reconstruction is shown."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        map_control(choices)
        reference_control(choices)
        shown_control(choices)
        scores_switch()


def map_control(choices: Choices) -> None:
    """Which error map a card shows; two runs beside each other leave no room for one."""
    st.segmented_control(
        "Third picture", list(KINDS), format_func=lambda name: KINDS[name].title, default="difference", required=True,
        key="map", bind="query-params", disabled=choices.beside is not None,
    )  # fmt: skip


def reference_control(choices: Choices) -> None:
    """What the reconstructions are compared with, where there is a choice."""
    if len(choices.references) > 1:
        st.segmented_control(
            "Compare with", choices.references, format_func=REFERENCE_WORDS.__getitem__,
            default=choices.references[0], required=True, key="reference", bind="query-params", help=HELP_REFERENCE,
            on_change=to_first_page,
        )  # fmt: skip


def shown_control(choices: Choices) -> None:
    """Which scores stand on a card at once."""
    with st.popover("Scores shown", icon=":material/view_column:", disabled=not choices.names):
        st.multiselect(
            "Scores shown", in_order(choices.names), default=first_shown(choices.names), format_func=short_name,
            key="shown", bind="query-params", width=420,
        )  # fmt: skip
        st.caption("The others are one click away on each card.")


def scores_switch() -> None:
    """Scores before they are answered."""
    st.toggle("Show scores", key="scores", bind="query-params", help=HELP_SCORES)


def reference_asked(offered: Sequence[str]) -> str:
    """What to compare with, before the controls are drawn: the session's choice, else the link's."""
    wanted = st.session_state.get("reference")
    if wanted is None:
        words = st.query_params.get("reference", "")
        wanted = next((name for name in offered if REFERENCE_WORDS[name] == words), offered[0])
    return wanted if wanted in offered else offered[0]


def asked(run_id: int, choices: Choices) -> Query:
    """What the controls and the link ask for."""
    state = st.session_state
    role = state.get("role") if len(choices.roles) > 1 else None
    return Query(
        run=run_id,
        role=role or (choices.roles[0] if choices.roles else "attack"),
        sort=state.get("sort") or "target",
        descending=state.get("order") == "descending",
        label=state.get("label") or "any",
        annotator=_annotator.current_annotator(),
        filter_metric=(state.get("by") or "") if choices.names else "",
        least=state.get("least"),
        most=state.get("most"),
        page=int(state.get("page") or 1),
        size=PAGE_SIZE[state.get("view") or "cards"],
        label_index=state.get("class") if len(choices.classes) > 1 else None,
        reference=reference_asked(choices.references),
        beside=choices.beside.run if choices.beside else None,
    )


def look(choices: Choices, query: Query, comparable: frozenset[str] = frozenset()) -> Look:
    """How the cards are drawn: the scores chosen, with the one that the page goes by among them."""
    chosen = st.session_state.get("shown")
    shown = first_shown(choices.names) if chosen is None else chosen
    wanted = {*shown, query.sort.removeprefix(DIFFERENCE), query.filter_metric}
    return Look(
        shown=tuple(name for name in in_order(choices.names) if name in wanted),
        sort=query.sort.removeprefix(DIFFERENCE),
        third=st.session_state.get("map") or "difference",
        scores=bool(st.session_state.get("scores")),
        judged=query.role == "attack",
        scored=frozenset(choices.names),
        comparable=comparable,
    )


def filter_words(query: Query, classes: Mapping[int, str]) -> str:
    """The filters in force, in words; "" where there are none."""
    words = [] if query.label == "any" else [query.label]
    if query.label_index is not None:
        words.append(f"class {class_word(classes, query.label_index)}")
    if query.filter_metric:
        name = short_name(query.filter_metric)
        if query.least is not None:
            words.append(f"{name} at least {_shared.number(query.least)}")
        if query.most is not None:
            words.append(f"{name} at most {_shared.number(query.most)}")
    return ", ".join(words)
