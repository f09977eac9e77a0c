"""Data sets: what there is, under which licence, downloads, one set closely, folders and Parquet files of one's own."""

import streamlit as st

from core.images.dataset import DataSet
from core.images.datasets import is_name
from core.images.opening import trouble
from pages import _data_choice, _datasets_cards, _datasets_closely, _shared

PAGE = "pages/datasets.py"


def closely(wanted: str) -> bool:
    """The set of ?set=; False, with the reason said, where there is none of that name."""
    if not is_name(wanted):
        st.error(
            _shared.plain(f"There is no data set called {wanted[:60]!r}; pick one below."), icon=":material/error:"
        )
        return False
    st.page_link(PAGE, label="All data sets", icon=":material/arrow_back:")
    _datasets_closely.named(wanted)
    return True


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
            looked_at(found)
            _datasets_cards.links(found.name)


def looked_at(found: _data_choice.Opened) -> None:
    """How many images of how many classes, and whether those that were opened are whole."""
    said = (
        f"{_shared.plain(found.dataset.title)}: {_shared.count(len(found.dataset.entries))} images of "
        f"{_shared.count(len(found.dataset.classes))} classes"
    )
    opened, broken = _trouble(found.name, found.dataset.fingerprint, found.dataset)
    if broken:
        st.markdown(said)
        st.error(_shared.plain(broken), icon=":material/broken_image:")
    else:
        st.markdown(f":material/check: {said}; {_shared.plain(opened)}")


@st.cache_data(show_spinner="Opening the images", max_entries=8, ttl=300)
def _trouble(name: str, fingerprint: str, _dataset: DataSet) -> tuple[str, str]:
    return trouble(_dataset)


_shared.header("Data sets", "Images to train victims on and to attack: bundled, published, or your own.")
with _shared.user_errors():
    if "set" not in st.query_params or not closely(st.query_params["set"]):
        _datasets_cards.cards()
        own()
