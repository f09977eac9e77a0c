"""Audit, the model: one of the store, by its name and accuracy: trained here, or uploaded for an earlier run."""

import streamlit as st

from core.images.dataset import DataChoice
from core.jobs.compose import stored_model
from core.report.models import PRESET, TRAINED, ModelEntry, zoo
from core.report.seen import as_choice
from core.report.settings_words import epsilon_words
from core.report.training import training
from pages import _models_zoo, _shared, _training_watch
from pages._audit_model import ChosenModel, follow, spec_line

KEY = "victim"  # in the link: the number of the model
PICKED = "victim_picked"


def choose() -> ChosenModel | None:
    """Draw the list; None while nothing was trained."""
    stored = [one for one in zoo(_shared.get_store()) if one.source != PRESET]
    found = {str(one.id): one for one in sorted(stored, key=lambda one: one.source != TRAINED)}
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
    picked = st.selectbox(
        "Trained victim", list(found), key=PICKED, format_func=lambda one: words(found[one]), on_change=follow
    )
    st.query_params[KEY] = picked  # by number: a bound list would put its label, accuracy and all, into the link
    return _chosen(found[picked])


def words(one: ModelEntry) -> str:
    """A model with what sets it apart from its likes."""
    held = "" if one.accuracy is None else f", {_shared.percent(one.accuracy, one.held_out)} right"
    return f"{one.id}: {one.name}{held}" + ("" if one.source == TRAINED else f" ({one.source})")


def _chosen(one: ModelEntry) -> ChosenModel:
    number = int(one.id or 0)
    accuracy = (
        "not measured"
        if one.accuracy is None
        else f"{_shared.percent(one.accuracy, one.held_out)} of {one.held_out} images"
    )
    spent = _models_zoo.epsilon(one)
    delta, unit = one.facts.get("delta"), str(one.facts.get("unit") or "")
    private = f" {epsilon_words(_shared.number(spent), delta, unit)}." if spent is not None else ""
    st.caption(f"{spec_line(one.spec)} Held-out accuracy: {_shared.plain(accuracy)}.{private}")
    st.page_link("pages/models.py", label="All that is known of it", query_params={"model": str(number)})
    return ChosenModel(
        one.spec, one.name, lambda: stored_model(_shared.get_store(), number)[1], _trained_on(one.training)
    )


def _trained_on(job: int | None) -> DataChoice | None:
    """The images of the training that made a model; None where it was made elsewhere."""
    if job is None:
        return None
    return as_choice(training(_shared.get_store(), job).job.data)
