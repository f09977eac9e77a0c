"""A training while it runs: state, progress, time left, early view, curves, buttons; and the history of trainings."""

import streamlit as st

from core.images.dataset import DataChoice
from core.jobs.prepared import prepared_count
from core.jobs.training import trained_models
from core.models.training.progress import EpochRow
from core.models.training.recipe import Recipe
from core.report.training import TrainingJob, TrainingView, training, training_jobs
from pages import _curves, _progress, _shared, _training_form
from pages._audit_knobs import title_of

HISTORY = 10
PAGE = "pages/models.py"
VIEW = "Train a victim"  # the page's view that holds the form, as the link calls it


def watched(job_id: int) -> None:
    """The training of ?training=: a live panel while anything may change, a still one afterwards."""
    current = training(_shared.get_store(), job_id).job
    st.session_state["training_live"] = current.live
    st.fragment(panel, run_every=_progress.POLL_SECONDS if current.live else None)(job_id)


def panel(job_id: int) -> None:
    """One training: state, bar, buttons, curves."""
    view = training(_shared.get_store(), job_id)
    job = view.job
    if st.session_state.get("training_live") and not job.live:
        st.rerun()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**Training {job.id}: {_shared.plain(job.title)}** {status_line(job)}")
            for model in trained_models(_shared.get_store(), job_id)[-1:]:
                label = "The model" if model.facts.get("final") else f"The model after epoch {model.epoch}"
                st.page_link(PAGE, label=label, query_params={"model": str(model.model_id)})
        _training_form.already_there(job_id)
        if job.state == "failed":
            st.error(_shared.plain(job.error or "It failed without a reason."), icon=":material/error:")
        if job.state == "paused" and job.error:
            st.warning(_shared.plain(job.error), icon=":material/pause_circle:")
        for warning in job.record.get("warnings") or ():
            st.warning(_shared.plain(str(warning)), icon=":material/warning:")
        progress_bar(view)
        buttons(job)
        early_view(view)
        if view.rows:
            _curves.curves(view.rows, early=job.live)
        with st.expander("Settings of this training"):
            settings_tables(job)


def status_line(current: TrainingJob) -> str:
    """Markdown: state badge, and what is asked but not done yet."""
    said = _shared.state_badge(current.state)
    if current.wanted == "pause" and current.state in ("queued", "running"):
        return f"{said} pausing: saving where it is"
    if current.wanted == "cancel" and current.live:
        return f"{said} cancelling"
    return said


def progress_bar(view: TrainingView) -> None:
    """How far it is, how fast, and how long it will still take."""
    current, share = view.job, view.job.share
    if current.state == "queued":
        st.progress(0.0, text="waiting for the runner")
    elif current.state == "paused":
        st.progress(share, text=f"paused at {100 * share:.0f} %")
    elif current.state == "running":
        parts = [f"{100 * share:.0f} %"]
        if view.rows:
            parts.append(f"epoch {_shared.count(view.rows[-1].epoch)} of {_shared.count(current.recipe.epochs)} done")
        if view.images_per_second:
            parts.append(f"{_shared.count(round(view.images_per_second))} images a second")
        left = view.seconds_left
        parts.append("measuring the pace" if left is None else f"about {_shared.seconds(left)} left")
        st.progress(share, text=", ".join(parts))


def early_view(view: TrainingView) -> None:
    """In figures, what the newest epoch says: does it learn, and does its gradient still carry anything?"""
    if not view.rows:
        if view.job.live:
            st.caption("The curves appear after the first epoch.")
        return
    row = view.rows[-1]
    with st.grid(4, min_column_width=140):
        st.metric("Held-out accuracy", _share(row.held_out_accuracy))
        st.metric("Training accuracy", _share(row.train_accuracy))
        gradient_norm(row)
        if row.epsilon is None:
            st.metric("Loss in training", _shared.number(row.train_loss))
        else:
            st.metric(
                "ε spent",
                _shared.number(row.epsilon),
                delta=guarantee(view.job),
                delta_color="off",
                delta_arrow="off",
                help="The unit is one image, added or removed. q: share of the images that a step draws.",
            )


def gradient_norm(row: EpochRow) -> None:
    """The gradient's size; of a private training that of the clean gradient, which is said."""
    private = row.epsilon is not None
    st.metric(
        "Gradient norm",
        _shared.number(row.gradient_norm),
        delta="clean: before clipping and noise" if private else None,
        delta_color="off",
        delta_arrow="off",
        help="L2 norm of the mean gradient, mean over the epoch's steps. Near zero, an update carries little to read "
        "off.",
    )


def guarantee(job: TrainingJob) -> str:
    """What ε is stated at: δ, the sampling rate where it is known, and the unit."""
    rate = (job.record.get("privacy") or {}).get("sampling_rate")
    if rate is None:
        choice = {name: tuple(value) if isinstance(value, list) else value for name, value in job.data.items()}
        count = prepared_count(_shared.settings(), DataChoice(**choice), job.spec)
        rate = job.recipe.batch_size / count if count else None
    drawn = "" if rate is None else f", q {_shared.number(rate)}"
    return f"at δ {job.recipe.dp_delta:g}{drawn}, unit: one image"


def _share(value: float) -> str:
    return _shared.percent(value)


def buttons(current: TrainingJob) -> None:
    """Pause, resume and cancel, as the state allows."""
    if not current.live:
        return
    asked = [("cancel", "Cancel", "close")]
    if current.state == "paused" or current.wanted == "pause":
        asked.insert(0, ("run", "Resume", "play_arrow"))
    elif current.wanted == "run":
        asked.insert(0, ("pause", "Pause", "pause"))
    if current.wanted == "cancel":
        return
    with st.container(horizontal=True):
        for wanted, label, icon in asked:
            st.button(
                label, key=f"training_{wanted}_{current.id}", icon=f":material/{icon}:",
                on_click=_progress.ask, args=(current.id, wanted),
            )  # fmt: skip


def settings_tables(job: TrainingJob) -> None:
    """What was asked, in two tables beside each other."""
    rows = settings_rows(job)
    half = -(-len(rows) // 2)
    with st.grid(2, min_column_width=300):
        st.table(rows[:half], alt="Settings of this training: model, images and the recipe's beginning")
        st.table(rows[half:], alt="Settings of this training: the rest of the recipe, and the device")


def settings_rows(current: TrainingJob) -> list[dict[str, str]]:
    """What was asked: model, images and every field of the recipe."""
    spec, data = current.spec, current.data
    size = f"{spec.width}×{spec.height} pixels, {spec.channels} channels, {spec.num_classes} classes"
    count, each = data.get("count"), data.get("per_class")
    rows: dict[str, object] = {
        "Architecture": spec.architecture
        + "".join(f", {name.replace('_', ' ')} {value}" for name, value in spec.arguments.items()),
        "Input": size,
        "Data set": current.dataset,
        "Classes": ", ".join(data.get("classes") or ()) or "all",
        "Images in all": "every one" if count is None else _shared.count(count),
        "Of each class": "as they come" if each is None else _shared.count(each),
        "Fixed list": _shared.count(len(data["names"])) if data.get("names") else "none",
        "Seed of the draw": data.get("seed", 0),
        **recipe_words(current.recipe),
        **{name.capitalize(): current.record[name] for name in ("device", "precision") if current.record.get(name)},
    }
    return [{"setting": name, "value": _shared.plain(str(value))} for name, value in rows.items()]


def recipe_words(recipe: Recipe) -> dict[str, object]:
    """Every field of a recipe in words; a defence's own settings only where it acts."""
    own = {"noise": "gaussian", "prune": "prune", "dp_noise": "dp-sgd", "dp_norm": "dp-sgd", "dp_delta": "dp-sgd"}
    return {
        title_of(name): value if value != "" else "none"
        for name, value in recipe.to_dict().items()
        if own.get(name, recipe.defence) == recipe.defence
    }


def history() -> None:
    """All trainings, newest first."""
    st.subheader("Trainings", anchor=False)
    page = int(st.session_state.get("trainings") or 1)
    found = training_jobs(_shared.get_store())
    if not found:
        st.caption("No training yet.")
        return
    st.session_state["trainings_live"] = busy = any(entry.live for entry in found)
    st.fragment(history_rows, run_every=_progress.POLL_SECONDS if busy else None)(page)
    if len(found) > HISTORY:
        st.pagination(-(-len(found) // HISTORY), key="trainings", bind="query-params")


def history_rows(page: int) -> None:
    """One page of the history; redrawn while a training of it lives."""
    found = training_jobs(_shared.get_store())
    if st.session_state.get("trainings_live") and not any(entry.live for entry in found):
        st.rerun()
    for entry in found[(page - 1) * HISTORY : page * HISTORY]:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f"{_shared.state_badge(entry.state)} Training {entry.id}: {_shared.plain(entry.title)}", width="stretch"
            )
            st.caption(f"{_shared.when(entry.created)}, {_shared.took(entry.started, entry.finished)}")
            label = "Watch" if entry.live else "Curves"
            st.page_link(PAGE, label=label, query_params={"view": VIEW, "training": str(entry.id)})
