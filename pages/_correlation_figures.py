"""The figures above the Correlations page's plot, and the cautions beside them."""

import streamlit as st

from core.labels.recognition import FEWEST_ANSWERS
from core.report.frames import Relation
from core.statistics import Estimate
from pages._shared import LABEL_PAGE, number

FEW_PAIRS = 10  # below, the figures carry a caution


def figure(title: str, found: Estimate, help_text: str) -> None:
    """One correlation with its interval."""
    between = (
        ""
        if found.low is None
        else f" 95 % interval if rows were independent: {number(found.low)} to {number(found.high)}."
    )
    st.metric(title, number(found.estimate), help=help_text + between, border=True)


def few_words(related: Relation) -> str:
    """The caution beside figures of few reconstructions, with the interval of ρ where there is one."""
    rho = related.spearman
    words = f"n = {related.n}: too few to say anything; another handful of reconstructions may well rank otherwise."
    if rho.low is None or rho.high is None:
        return words
    return f"{words} 95 % interval of ρ, if rows were independent: {number(rho.low)} to {number(rho.high)}."


def nearest_left_out(count: int) -> str:
    """How many reconstructions of attacks on the model alone take no part, and why."""
    one = count == 1
    return (
        f"{count} reconstruction{'' if one else 's'} of attacks on the model alone {'is' if one else 'are'} left out: "
        f"{'it was' if one else 'each was'} paired with the original of its class that a metric finds nearest, which "
        "would flatter the metrics against people."
    )


def figures(related: Relation, people: bool) -> None:
    """The figures above the plot."""
    with st.container(horizontal=True):
        figure("Spearman ρ", related.spearman, "Rank correlation; +1: the same order of leakage.")
        figure("Kendall τ-b", related.kendall, "Share of pairs in the same order minus the rest, ties corrected.")
        st.metric("n", f"{related.n}", help="Reconstructions with both values.", border=True)
        st.metric(
            "Unscored",
            f"{related.unscored}",
            help="Left out: a metric has no value, with its reason stored.",
            border=True,
        )
        if people:
            few = f"Counted in n, but fewer than {FEWEST_ANSWERS} answers: whether one is recognisable is undetermined."
            st.metric("Undetermined", f"{related.undetermined}", help=few, border=True)
            st.metric("Not labelled", f"{related.unlabelled}", help="Left out: nobody has answered yet.", border=True)
    if related.nearest:
        st.caption(nearest_left_out(related.nearest))
    if 0 < related.n < FEW_PAIRS:
        st.caption(few_words(related))
    if related.words:
        st.info(related.words, icon=":material/info:")
        if people and related.unlabelled:
            st.page_link(LABEL_PAGE, label="Label some", icon=":material/keyboard:")
