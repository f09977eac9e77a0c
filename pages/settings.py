"""Settings: every setting in this store, or of one campaign, ranked by people and by every score."""

import streamlit as st

from pages import _settings_table
from pages._links import link_errors
from pages._shared import get_store, header, query_number

header("Settings", "Every setting in this store, ranked: which leaks least, to a person's eye and by every score?")
with link_errors("pages/settings.py", "Settings"):
    campaign = query_number("campaign")
if campaign is not None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Settings of campaign {campaign}.")
        st.page_link("pages/settings.py", label="All settings", icon=":material/table_rows:")
_settings_table.draw(get_store(), campaign=campaign)
