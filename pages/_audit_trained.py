"""Audit, the model: a victim that was trained here, by its name, with its accuracy."""

import streamlit as st

from core.images.dataset import DataChoice
from core.jobs.compose import stored_model
from core.report.models import TRAINED, ModelEntry, zoo
from core.report.training import training
from pages import _models_zoo, _shared, _training_watch
from pages._audit_model import ChosenModel, spec_line

KEY = "victim"  # in the link: the number of the model
PICKED = "victim_picked"


def choose() -> ChosenModel | None:
    """Draw the list; None while nothing was trained."""
    found = {str(one.id): one for one in zoo(_shared.get_store()) if one.source == TRAINED}
    if not found:
        st.caption("No victim has been trained in this store yet.")
        st.page_link("pages/models.py", label="Train a victim", query_params={"view": _training_watch.VIEW})
        return None
    asked = st.query_params.get(KEY)
    if asked is not None and asked not in found:
        st.warning(
            _shared.plain(f"There is no trained model {asked[:20]!r} in this store; another one is chosen."),
            icon=":material/link_off:",
        )
    if PICKED not in st.session_state and asked in found:
        st.session_state[PICKED] = asked
    picked = st.selectbox("Trained victim", list(found), key=PICKED, format_func=lambda one: words(found[one]))
    st.query_params[KEY] = picked  # by number: a bound list would put its label, accuracy and all, into the link
    return _chosen(found[picked])


def words(one: ModelEntry) -> str:
    """A model with what sets it apart from its likes."""
    held = "" if one.accuracy is None else f", {100 * one.accuracy:.1f} % right"
    return f"{one.id}: {one.name}{held}"


def _chosen(one: ModelEntry) -> ChosenModel:
    number, job = int(one.id or 0), training(_shared.get_store(), int(one.training or 0)).job
    accuracy = "not measured" if one.accuracy is None else f"{100 * one.accuracy:.1f} % of {one.held_out} images"
    spent = _models_zoo.epsilon(one)
    private = f" ε = {_shared.number(spent)}." if spent is not None else ""
    st.caption(f"{spec_line(one.spec)} Held-out accuracy: {_shared.plain(accuracy)}.{private}")
    st.page_link("pages/models.py", label="Its training", query_params={"model": str(number)})
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in job.data.items()}
    return ChosenModel(one.spec, one.name, lambda: stored_model(_shared.get_store(), number)[1], DataChoice(**values))
