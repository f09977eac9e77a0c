"""Models: the zoo of presets, uploads and trained victims; one model closely; and the form that trains a victim."""

import streamlit as st

from core.models.presets import PRESETS
from core.report.models import PRESET, ModelEntry, model_entry, zoo
from pages import _data_choice, _models_closely, _models_zoo, _shared, _training_form, _training_watch
from pages._links import link_errors, obey

PAGE = "pages/models.py"
ZOO, TRAIN = "All models", _training_watch.VIEW


def named(wanted: str) -> ModelEntry:
    """The preset of this name, or the stored model of this number; UserError for neither."""
    if wanted in PRESETS:
        return next(one for one in zoo(_shared.get_store()) if one.name == wanted and one.source == PRESET)
    number = _shared.query_number("model")
    return model_entry(_shared.get_store(), number or 0)


def closely(wanted: str) -> None:
    """The model of ?model=, above everything else."""
    with link_errors(PAGE, "Models"):
        entry = named(wanted)
    _models_closely.show(entry)


def watch() -> None:
    """The training of ?training=, if the link names one."""
    with link_errors(PAGE, "Models"):
        wanted = _shared.query_number("training")
        if wanted is not None:
            _training_watch.watched(wanted)


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
    if "model" in st.query_params:
        closely(st.query_params["model"])
    else:
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
            watch()
            _training_form.form()
            _training_watch.history()
        else:
            all_models()
