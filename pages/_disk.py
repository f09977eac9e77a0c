"""What the disk is used for, by which rule each kind is bounded, and the button that applies the rules at once."""

import pandas as pd
import streamlit as st

from core.jobs.sweep import sweep
from core.storage.space import size_words
from core.storage.usage import Usage, disk_usage
from pages import _shared

LOW = 1 << 30  # bytes free, below which the line warns


def prune_now() -> None:
    """Button callback: delete what the rules allow, and say what went."""
    try:
        swept = sweep(_shared.get_store())
    except OSError as error:
        st.toast(_shared.plain(f"Not everything could be deleted ({error.strerror})."), icon=":material/error:")
        return
    st.toast(_shared.plain(f"Deleted: {swept.words()}."), icon=":material/delete_sweep:")


def table(used: Usage) -> pd.DataFrame:
    """One row a kind that has files."""
    rows = [(one.title, one.files, size_words(one.bytes), one.rule) for one in used.kinds if one.files]
    return pd.DataFrame(rows, columns=["What", "Files", "Size", "Rule"])


def panel() -> None:
    """One line, and behind it the table and the button."""
    used = disk_usage(_shared.get_store())
    line = f"Disk: {size_words(used.total)} used by SemSight, {size_words(used.free)} free"
    with st.expander(line, icon=":material/warning:" if used.free < LOW else ":material/hard_drive:"):
        if used.free < LOW:
            st.warning("Little room is left: jobs pause when the disk is full.")
        st.table(table(used).set_index("What"), alt="Disk use by kind, with the rule that bounds it")
        st.button("Prune now", icon=":material/delete_sweep:", on_click=prune_now, key="prune")
        st.caption("Applies the rules at once; the runner does so every hour. What runs and answers need stays.")
