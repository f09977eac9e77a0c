"""Data sets: what there is, under which licence, downloads, one set closely, folders and Parquet files of one's own."""

import streamlit as st

from core.errors import UserError
from core.images.datasets import is_name
from pages import _data_choice, _datasets_cards, _datasets_closely, _shared
from pages._links import link_errors

PAGE = "pages/datasets.py"


def closely(wanted: str) -> None:
    """The set of ?set=."""
    with link_errors(PAGE, "Data sets"):
        if not is_name(wanted):
            raise UserError(f"There is no data set called {wanted[:60]!r}; pick one below.")
    st.page_link(PAGE, label="All data sets", icon=":material/arrow_back:")
    _datasets_closely.named(wanted)


def own() -> None:
    """A folder or a Parquet file on this machine."""
    st.subheader("Your own images", anchor=False)
    with st.container(border=True):
        st.caption("Files stay where they are: they are read when asked for, and nothing of them is copied before.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            kind = st.segmented_control(
                "Kind",
                list(_data_choice.FILES),
                default=_data_choice.FOLDER,
                required=True,
                key="own_kind",
                format_func=lambda one: {"folder": "Folder", "parquet": "Parquet file"}[one],
            )
            path = st.text_input(
                "Path on the server",
                key="own_path",
                placeholder="/data/faces" if kind == _data_choice.FOLDER else "/data/train-00000.parquet",
                help=_data_choice.path_help(str(kind)),
            ).strip()
        if path and (found := _data_choice.opened(f"{kind}:{path}")) is not None:
            st.markdown(
                f":material/check: {_shared.plain(found.dataset.title)}: "
                f"{_shared.count(len(found.dataset.entries))} images of {len(found.dataset.classes)} classes"
            )
            _datasets_cards.links(found.name)


_shared.header("Data sets", "Images to train victims on and to attack: bundled, published, or your own.")
with _shared.user_errors():
    if "set" in st.query_params:
        closely(st.query_params["set"])
    else:
        _datasets_cards.cards()
        own()
