"""Models: the zoo of presets, uploads and trained victims; one model closely; and the form that trains a victim."""

import streamlit as st

from core.errors import UserError
from core.models.presets import PRESETS
from core.report.models import PRESET, ModelEntry, model_entry, zoo
from pages import _data_choice, _models_closely, _models_zoo, _shared, _training_form, _training_watch
from pages._links import obey

PAGE = "pages/models.py"
ZOO, TRAIN = "All models", _training_watch.VIEW


def named(wanted: str) -> ModelEntry:
    """The preset of this name, or the stored model of this number; UserError for neither."""
    if wanted in PRESETS:
        return next(one for one in zoo(_shared.get_store()) if one.name == wanted and one.source == PRESET)
    number = _shared.query_number("model")
    return model_entry(_shared.get_store(), number or 0)


def closely(wanted: str) -> bool:
    """The model of ?model=, in place of everything else; False, with the reason said, where there is none."""
    try:
        entry = named(wanted)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return False
    _models_closely.show(entry)
    return True


def watch() -> bool:
    """The training of ?training=, if the link names one that there is; whether it does."""
    try:
        wanted = _shared.query_number("training")
        if wanted is not None:
            _training_watch.watched(wanted)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return False
    return wanted is not None


def all_models() -> None:
    """The table, or the way to a first training."""
    entries = zoo(_shared.get_store())
    if not any(one.source != PRESET for one in entries):
        _shared.empty_state(
            "**Only presets so far.** Train a victim on images of your choice, or upload weights on the Audit page: "
            "both appear here, with their accuracy and the runs that attack them.",
            lambda: st.page_link(PAGE, label="Train a victim", query_params={"view": TRAIN}),
        )
    _models_zoo.table(entries)


_shared.header("Models", "Victims: presets, uploads and those trained here, each with what is known of it.")
with _shared.user_errors():
    obey(view=ZOO, train_data=_data_choice.bundled_first()[0])
    if "model" not in st.query_params or not closely(st.query_params["model"]):
        view = st.segmented_control(
            "View",
            [ZOO, TRAIN],
            default=ZOO,
            required=True,
            key="view",
            bind="query-params",
            label_visibility="collapsed",
        )
        if view == TRAIN:
            if watch():
                with st.expander("Train another victim", icon=":material/model_training:"):
                    _training_form.form()
            else:
                _training_form.form()
            _training_watch.history()
        else:
            all_models()
