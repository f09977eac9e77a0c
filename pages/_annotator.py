"""Who answers: the name in the sidebar, or a guest's."""

import re
import secrets

import streamlit as st

from core.errors import UserError
from core.labels.annotators import clean_name
from pages._shared import plain

NAME_KEY = "annotator"  # the sidebar's field, bound to ?annotator= by Streamlit
LET_GO = """<script>
if (!window.semsightLetsGo) {
  window.semsightLetsGo = true;
  document.addEventListener("keyup", (event) => {
    if (event.key === "Enter" && event.target.matches('input[aria-label="Annotator"]')) event.target.blur();
  });
}
</script>"""  # after Enter the next key is an answer, no letter of the name
GUEST = re.compile(r"guest-[0-9a-f]{4}")


def current_annotator() -> str:
    """Name under which answers of this session are stored: never empty, cleaned."""
    typed = str(st.session_state.get(NAME_KEY) or "")
    if typed.strip():
        try:
            return clean_name(typed)
        except UserError:
            return guest_name()
    return guest_name()


def annotator_field() -> None:
    """The sidebar's field for the annotator's name, kept in ?annotator=; a guest's name until one is typed."""
    if NAME_KEY not in st.query_params and NAME_KEY not in st.session_state:
        st.session_state[NAME_KEY] = guest_name()
        st.query_params[NAME_KEY] = guest_name()  # a value set here is not in the link, and a reload knows only that
    with st.sidebar:
        typed = st.text_input("Annotator", key=NAME_KEY, bind="query-params", max_chars=60, placeholder="your name")
        st.html(LET_GO, unsafe_allow_javascript=True)
        if GUEST.fullmatch(typed):
            st.session_state["guest"] = typed  # the guest of the link, after a reload too
        try:
            clean_name(typed)
        except UserError as error:
            st.caption(f":material/error: {plain(str(error))} Answers are stored as {plain(guest_name())}.")
            return
        if typed == guest_name():
            st.caption("Type your name: answers are stored under it.")


def guest_name() -> str:
    """A name of this session's own, so that two people who give none are not taken for one."""
    if "guest" not in st.session_state:
        st.session_state["guest"] = f"guest-{secrets.token_hex(2)}"
    return str(st.session_state["guest"])
