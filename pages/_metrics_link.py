"""Choices of the Metrics page that live in its link: ?metric=psnr&picture=cat-1&list=table&kind=pair&here=missing.

The Reconstructions page binds a widget of its own to ?metric=. Once it was open, Streamlit keeps that value in the
address from page to page and lets nobody else set it; the choice then lives in the session alone.
"""

from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.errors import StreamlitAPIException

from core.registry import look_up
from pages._links import or_usual

PREFIX, SEEN = "guide_", "guide_seen_"  # of the widgets' keys, and of what the link last said


def key(name: str) -> str:
    """The key of the widget whose value ?name= holds."""
    return PREFIX + name


def take(name: str, options: Sequence[str], default: str, kind: str, also: Mapping[str, str] | None = None) -> None:
    """Set the widget from the link where that is new, else leave it as chosen; say so where it names no option.

    also: other words for some options.
    """
    said = st.query_params.get(name, "")
    meant = (also or {}).get(said, said)
    if said and or_usual(lambda: look_up({one: one for one in options}, meant, kind), None) is None:
        meant = ""
    chosen = st.session_state.get(key(name))
    new = meant and said != st.session_state.get(SEEN + name)
    st.session_state[key(name)] = meant if new else chosen or meant or default
    st.session_state[SEEN + name] = said
    if meant or not said:  # else the address stays as it is, and the sentence with it, until something is chosen
        keep(name, default)


def keep(name: str, default: str = "") -> None:
    """Put the widget's value into the link, where it may be set; a default needs no place there."""
    value = str(st.session_state.get(key(name)) or "")
    try:
        if value and value != default:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]
    except StreamlitAPIException:  # bound by another page
        return
    st.session_state[SEEN + name] = st.query_params.get(name, "")
