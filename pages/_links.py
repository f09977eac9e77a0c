"""What a page shows for a link that names nothing: the sentence, and the way to the page without it."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import UserError
from pages._shared import plain


@contextmanager
def link_errors(page: str, title: str) -> Iterator[None]:
    """Show a UserError as its sentence with a link to `page` without parameters, and stop the page there."""
    try:
        yield
    except UserError as error:
        st.error(plain(str(error)), icon=":material/error:")
        st.page_link(page, label=f"Open {title} without this link", icon=":material/link_off:")
        st.stop()
