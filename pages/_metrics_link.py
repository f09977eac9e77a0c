"""Choices of the Metrics page that live in its link: ?metric=psnr&picture=cat-1&list=table&kind=pair&here=missing.

The Reconstructions page binds a widget of its own to ?metric=. Once it was open, Streamlit keeps that value in the
address from page to page and lets nobody else set it; the choice then lives in the session alone.
"""

from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.errors import StreamlitAPIException

from core.registry import look_up

PREFIX, SEEN = "guide_", "guide_seen_"  # of the widgets' keys, and of what the link last said


def key(name: str) -> str:
    """The key of the widget whose value ?name= holds."""
    return PREFIX + name


def take(name: str, options: Sequence[str], default: str, kind: str, also: Mapping[str, str] | None = None) -> None:
    """Set the widget from the link where that is new, else leave it as chosen; UserError where it names no option.

    also: other words for some options.
    """
    said = st.query_params.get(name, "")
    chosen = st.session_state.get(key(name))
    asked = said if said and said != st.session_state.get(SEEN + name) else chosen or said or default
    asked = (also or {}).get(asked, asked)
    look_up(dict.fromkeys(options), asked, kind)
    st.session_state[key(name)] = asked
    st.session_state[SEEN + name] = said
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
