"""Choices of the Metrics page that live in its link: ?metric=psnr&picture=cat-1&view=table&kind=pair&here=missing."""

from collections.abc import Mapping, Sequence

import streamlit as st

from core.registry import look_up

PREFIX = "guide_"  # of the widgets' keys, so that they are no other page's


def key(name: str) -> str:
    """The key of the widget whose value ?name= holds."""
    return PREFIX + name


def take(name: str, options: Mapping[str, str] | Sequence[str], default: str, kind: str) -> None:
    """Set the widget from the link, or to its default; UserError where the link names no option."""
    asked = st.query_params.get(name, "") or st.session_state.get(key(name)) or default
    known = dict.fromkeys(options)
    look_up(known, asked, kind)
    st.session_state[key(name)] = asked
    keep(name, default)


def keep(name: str, default: str = "") -> None:
    """Put the widget's value into the link; a default needs no place there."""
    value = str(st.session_state.get(key(name)) or "")
    if value and value != default:
        st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]
