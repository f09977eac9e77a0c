"""Links that name nothing, and links that name a default."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

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


Choice = TypeVar("Choice")


def or_usual(read: Callable[[], Choice], usual: Choice) -> Choice:
    """What the address asks for; where `read` raises UserError, its sentence is shown and the page goes on as usual.

    The sentence need not speak of a link: Streamlit carries a bound parameter from page to page, at a mere click.
    """
    try:
        return read()
    except UserError as error:
        st.info(plain(f"{error} The usual is shown."), icon=":material/info:")
        return usual


def one_of(name: str, words: Sequence[str], usual: str) -> str:
    """The word in ?name=, or the usual; any other is said not to be one of `words`, and the usual taken."""
    word = st.query_params.get(name, usual)
    if word in words:
        return word

    def refuse() -> str:
        raise UserError(f"{name} must be {' or '.join(words)}, not {word[:40]!r}.")

    return or_usual(refuse, usual)


def obey(**defaults: str) -> None:
    """Before the widgets: have a link that names a widget's default win over what the session remembers of the widget.

    Streamlit 1.67 takes a bound parameter from a page's link, but not where it is the default: then an earlier choice
    of this session stays (seen in the browser). A widget's own changes never leave its default in the address.
    """
    for key, default in defaults.items():
        if st.query_params.get(key) == default and st.session_state.get(key, default) != default:
            st.session_state[key] = default
