"""Links that name nothing, and links that name a default."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import UserError
from pages._shared import plain


@contextmanager
def link_errors(page: str, title: str, *, stop: bool = True) -> Iterator[None]:
    """Show a UserError as its sentence with a link to `page` without parameters, and stop the page there.

    stop: False where the page goes on below as if the link named nothing.
    """
    try:
        yield
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        st.page_link(page, label=f"Open {title} without this link", icon=":material/link_off:")
        if stop:
            st.stop()


def obey(**defaults: str) -> None:
    """Before the widgets: have a link that names a widget's default win over what the session remembers of the widget.

    Streamlit 1.67 takes a bound parameter from a page's link, but not where it is the default: then an earlier choice
    of this session stays (seen in the browser). A widget's own changes never leave its default in the address.
    """
    for key, default in defaults.items():
        if st.query_params.get(key) == default and st.session_state.get(key, default) != default:
            st.session_state[key] = default
