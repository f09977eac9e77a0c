"""One model: curve, recipe, data, the epochs kept beside it, the runs that used it, and what can be done with it."""

import json

import streamlit as st

from core.errors import UserError
from core.images.datasets import DATASETS
from core.jobs.compose import stored_model
from core.names import safe_name
from core.report.model_card import model_card
from core.report.models import PRESET, TRAINED, ModelEntry, forget_model, zoo
from core.report.runs import run
from core.report.training import training
from pages import _curves, _datasets_cards, _models_zoo, _shared, _training_watch

PAGE = "pages/models.py"
MOST_RUNS = 20


def show(entry: ModelEntry) -> None:
    """The whole view."""
    st.page_link(PAGE, label="All models", icon=":material/arrow_back:")
    said = st.session_state.pop("model_refused", None)
    if said:
        st.error(_shared.plain(said), icon=":material/error:")
    with st.container(border=True):
        st.subheader(_shared.plain(entry.name), anchor=False)
        st.caption(
            f"{_models_zoo.origin_words(entry).capitalize()}. "
            f"{_shared.plain(_models_zoo.architecture_words(entry))}, {entry.spec.width}×{entry.spec.height} pixels, "
            f"{entry.spec.channels} channels, {entry.spec.num_classes} classes."
        )
        figures(entry)
        actions(entry)
    if entry.training is not None:
        trained(entry)
    runs(entry)


def figures(entry: ModelEntry) -> None:
    """Accuracy with n, size, ε, runs."""
    with st.grid(4, min_column_width=150):
        st.metric(
            "Held-out accuracy",
            _shared.percent(entry.accuracy, entry.held_out),
            delta=f"of {_shared.count(entry.held_out)} images" if entry.held_out else "not measured",
            delta_color="off",
            delta_arrow="off",
        )
        st.metric(
            "Parameters",
            "–" if entry.parameters is None else _shared.count(entry.parameters),
            delta="numbers in its weights",
            delta_color="off",
            delta_arrow="off",
        )
        st.metric("Runs that attack it", len(entry.runs), delta="in this store", delta_color="off", delta_arrow="off")
        if _models_zoo.epsilon(entry) is not None:
            st.metric(
                "ε spent",
                _shared.number(_models_zoo.epsilon(entry)),
                delta=delta_words(entry),
                delta_color="off",
                delta_arrow="off",
            )
        elif entry.epoch is not None:
            st.metric("Epoch", entry.epoch, delta="of its training", delta_color="off", delta_arrow="off")


def delta_words(entry: ModelEntry) -> str:
    """δ, beside ε: one says nothing without the other."""
    delta, rate = _models_zoo.delta(entry), entry.facts.get("sampling_rate")
    drawn = "" if rate is None else f"q {_shared.number(rate)}, "
    return ("" if delta is None else f"at δ {delta:g}, ") + f"{drawn}unit: one image"


def actions(entry: ModelEntry) -> None:
    """Attack it, take it away, forget it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(_shared.AUDIT_PAGE, label="Attack it", icon=":material/biotech:", query_params=attack_link(entry))
        st.download_button(
            "Model card (JSON)",
            lambda: card_text(entry),
            file_name=f"{safe_name(entry.name)}.json",
            mime="application/json",
            icon=":material/description:",
            key="card",
            on_click="ignore",
        )
        if entry.id is not None and entry.spec.weights_sha256:
            st.download_button(
                "Weights (safetensors)",
                lambda: weights_of(entry),
                file_name=f"{safe_name(entry.name)}.safetensors",
                mime="application/octet-stream",
                icon=":material/download:",
                key="weights",
                on_click="ignore",
            )
        if deletable(entry):
            with st.popover("Delete", icon=":material/delete:"):
                st.markdown("No run uses it. Its weights go; the training's curve stays.")
                st.button("Delete it for good", key="forget", on_click=forget, args=(entry.id,))


def deletable(entry: ModelEntry) -> bool:
    """Whether it is a checkpoint of a chosen epoch that no run used."""
    return entry.source == TRAINED and entry.id is not None and not entry.final and not entry.runs


def attack_link(entry: ModelEntry) -> dict[str, str]:
    """The Audit page with this model chosen."""
    if entry.source == PRESET:
        return {"from": "preset", "model": entry.name}
    data = entry.facts.get("dataset") if entry.source == TRAINED else None
    images = _datasets_cards.attack_link(str(data)) if data else {}
    return {"from": "trained", "victim": str(entry.id), **images}


def card_text(entry: ModelEntry) -> str:
    """The model card as JSON."""
    made_by = None if entry.training is None else training(_shared.get_store(), entry.training).job
    return json.dumps(model_card(entry, made_by), indent=2, ensure_ascii=False, allow_nan=False)


def weights_of(entry: ModelEntry) -> bytes:
    """The safetensors file of a stored model."""
    _, weights, _ = stored_model(_shared.get_store(), int(entry.id or 0))
    return weights or b""


def forget(model_id: int) -> None:
    """Button callback: delete an unused checkpoint; a refusal is said above the model."""
    try:
        forget_model(_shared.get_store(), model_id)
    except UserError as error:
        st.session_state["model_refused"] = str(error)
        return
    del st.query_params["model"]


def trained(entry: ModelEntry) -> None:
    """How it was made: curves, epochs kept, recipe and data."""
    current = training(_shared.get_store(), int(entry.training or 0))
    st.subheader("Training", anchor=False)
    if current.rows:
        _curves.curves(current.rows)
    siblings([one for one in zoo(_shared.get_store()) if one.training == entry.training])
    with st.expander("Recipe and images", expanded=True):
        _training_watch.settings_tables(current.job)
    record = DATASETS.get(current.job.dataset.partition(":")[0])
    if record is not None:
        st.caption(f"Licence of {_shared.plain(record.title)}: {_shared.plain(record.licence)}")
    st.page_link(
        PAGE,
        label=f"Training {current.job.id}",
        query_params={"view": _training_watch.VIEW, "training": str(current.job.id)},
    )


def siblings(found: list[ModelEntry]) -> None:
    """The epochs of one training that are kept as models of their own."""
    if len(found) < 2:
        return
    st.markdown("**Epochs kept as models of their own**")
    rows = [
        {"model": _models_zoo.link(one), "epoch": one.epoch, "accuracy": one.accuracy, "runs": len(one.runs)}
        for one in sorted(found, key=lambda one: one.epoch or 0)
    ]
    config = {
        "model": st.column_config.LinkColumn("model", display_text=r"#(.*)$"),
        "accuracy": st.column_config.NumberColumn("held-out accuracy", format="percent"),
    }
    st.dataframe(rows, hide_index=True, column_config=config, width="content", alt="Epochs kept, with their accuracy")


def runs(entry: ModelEntry) -> None:
    """The attacks on it, the newest first."""
    st.subheader("Runs", anchor=False)
    if not entry.runs:
        st.caption("No run attacks it yet.")
    for number in reversed(entry.runs[-MOST_RUNS:]):
        found = run(_shared.get_store(), number)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{_shared.state_badge(found.state)} Run {number}: {_shared.plain(found.title)}", width="stretch"
            )
            st.page_link(_shared.RUN_PAGE, label="Reconstructions", query_params={"run": str(number)})
    if len(entry.runs) > MOST_RUNS:
        st.caption(f"The newest {MOST_RUNS} of {_shared.count(len(entry.runs))}.")
