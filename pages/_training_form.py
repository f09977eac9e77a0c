"""The training form: data, architecture and recipe, what the training will cost, and the button that queues it."""

import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import streamlit as st

from core.errors import UserError
from core.images.dataset import TRAIN, DataChoice
from core.images.datasets import input_of
from core.jobs.training import TrainRequest, as_started, check_training, submit_training, victim_spec
from core.models.catalogue import CATALOGUE, Argument, check_spec
from core.models.sizes import parameter_count
from core.models.spec import ModelSpec
from core.models.training.recipe import Recipe
from core.report.training_pace import pace_of
from pages import _data_choice, _shared, _training_recipe
from pages._training_recipe import ARCHITECTURE

DEVICES = ("auto", "cpu", "cuda")
PREFIX = "train_"  # of the data choice's keys


def launch(request: TrainRequest, anew: bool = False) -> None:
    """Button callback: store and queue; the page then shows that training."""
    try:
        submitted = submit_training(_shared.get_store(), request, anew=anew)
    except UserError as error:
        st.session_state["training_refused"] = str(error)
        return
    st.session_state["training_asked"] = (request, submitted.job_id, submitted.already, submitted.state)
    st.query_params["training"] = str(submitted.job_id)
    if not submitted.already:
        st.toast(f"Training {submitted.job_id} is queued: it shows at the top of the page.", icon=":material/check:")
    _shared.wake_runner()


def form() -> None:
    """The three choices and the launch."""
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True):
        st.subheader("1  Images", anchor=False)
        found, choice, places = _images()
    with right, st.container(border=True):
        st.subheader("2  Architecture", anchor=False)
        spec = _architecture(found, choice)
    with st.container(border=True):
        st.subheader("3  Recipe", anchor=False)
        sample = None if found is None or not places else _sample(found, places[0])
        recipe = _training_recipe.choose_recipe(spec, len(places) or None, sample)
    refused = st.session_state.pop("training_refused", None)
    if refused:
        st.error(_shared.plain(refused), icon=":material/error:")
    if spec is None or choice is None or recipe is None or not places:
        st.button("Train", type="primary", disabled=True, key="train")
        lacking = {
            "1 Images": "" if places else "no images to train on yet",
            "2 Architecture": "" if spec or not places else "its settings do not go together",
            "3 Recipe": "" if recipe else "a setting is refused",
        }
        st.caption("Before the start: " + ". ".join(f"**{k}**: {v}" for k, v in lacking.items() if v) + ".")
        return
    _ready(spec, choice, recipe, len(places))


def _ready(spec: ModelSpec, choice: DataChoice, recipe: Recipe, count: int) -> None:
    """Name, device, what it will cost, and the button; what cannot run is said here, before anything is stored."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the victim", key="victim_name", bind="query-params", placeholder=spec.architecture
        )
        device = st.selectbox("Device", DEVICES, key="victim_device", bind="query-params", width=140)
    started = as_started(spec, recipe)
    if started != spec:
        st.caption("ImageNet's mean and standard deviation take the place of the data set's: the weights expect them.")
    request = TrainRequest(started, name.strip() or spec.architecture, choice, recipe, str(device))
    try:
        _check(json.dumps([asdict(request), _shared.settings().home], sort_keys=True, default=str), request)
    except UserError as error:
        st.warning(_shared.plain(str(error)), icon=":material/error:")
        st.button("Train", type="primary", disabled=True, key="train")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Train", type="primary", icon=":material/play_arrow:", key="train", on_click=launch, args=(request,))
        st.markdown(cost_words(request, count), width="stretch")


@st.cache_data(show_spinner=False, max_entries=32, ttl=20)
def _check(key: str, _request: TrainRequest) -> None:
    """check_training, which draws the images anew: not at each rerun. Raises UserError, which is not kept."""
    check_training(_shared.settings(), _request)


def cost_words(request: TrainRequest, count: int) -> str:
    """Steps, and the time at the pace of earlier trainings of this architecture; that none ran, where none did."""
    recipe = request.recipe
    steps = recipe.epochs * math.ceil(count / recipe.batch_size)
    said = f"{_shared.count(count)} images × {_shared.count(recipe.epochs)} epochs, {_shared.count(steps)} steps. "
    pace = pace_of(_shared.get_store(), request.spec)
    if pace is None:
        return said + "How long it takes shows after its first epoch: none of this size was trained here yet."
    seconds = count * recipe.epochs / pace
    taken = "under 1 s" if seconds < 1 else f"about {_shared.seconds(seconds)}"
    return said + f"Training takes **{taken}** at {_shared.count(round(pace))} images a second, as the last."


# --- images -----------------------------------------------------------------------------------------------
def _images() -> tuple[_data_choice.Opened | None, DataChoice | None, tuple[int, ...]]:
    found = _data_choice.source(PREFIX)
    if found is None:
        return None, None, ()
    try:
        choice = _data_choice.chosen(PREFIX, found, part=False, count=None)
        if choice is None:
            return found, None, ()
        places = _data_choice.places(found, replace(choice, part=TRAIN))
        held = len(_data_choice.places(found, _data_choice.held_out(choice)))
        shown = _data_choice.strip(found, places)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return found, None, ()
    said = f"{_shared.count(len(places))} images to train on, {_shared.count(held)} held out to look at accuracy."
    st.caption(said)
    st.html(_shared.pictures_html(shown))
    return found, choice, places


@st.cache_data(show_spinner=False, max_entries=16)
def _sample_pixels(name: str, fingerprint: str, place: int, _found: Any) -> np.ndarray:
    (picture,) = _found.dataset.pictures([place])
    return np.ascontiguousarray(picture.pixels)


def _sample(found: _data_choice.Opened, place: int) -> np.ndarray | None:
    """A picture of the data, for the policies; None where it cannot be read, which the preview has said."""
    try:
        return _sample_pixels(found.name, found.dataset.fingerprint, place, found)
    except UserError:
        return None


# --- architecture -----------------------------------------------------------------------------------------
def _architecture(found: _data_choice.Opened | None, choice: DataChoice | None) -> ModelSpec | None:
    """The architecture with its arguments at a size that fits the data; None where it does not go together."""
    usable = [name for name, entry in CATALOGUE.items() if not entry.refused]
    architecture = str(st.selectbox("Architecture", usable, key=ARCHITECTURE, bind="query-params"))
    known = CATALOGUE.get(architecture, CATALOGUE[usable[0]])
    st.caption(f"{_shared.plain(known.title)}. Source: {_shared.plain(known.source)}")
    if found is None or choice is None:
        return None
    try:
        wanted = input_of(found.name, _shared.settings())
        with st.grid(3, min_column_width=130):
            size = st.number_input(
                "Input size, pixels", 1, 1024, wanted.size, key=f"victim_size_{_kind(found.name)}",
                bind="query-params", help=f"Images are resized to it; {wanted.size} is the data set's own.",
            )  # fmt: skip
            seed = st.number_input(
                "Seed of the weights", 0, 2**31 - 1, 0, key="victim_init", bind="query-params",
                help="Draws the weights that the training starts from.",
            )  # fmt: skip
            arguments = {
                name: value
                for name, argument in known.arguments.items()
                if (value := argument_widget(known.name, argument)) != argument.default
            }
        drawn = victim_spec(known.name, found.name, _shared.settings(), size=int(size), arguments=arguments)
        spec = replace(drawn, num_classes=max(2, len(choice.classes or found.dataset.classes)), init_seed=int(seed))
        check_spec(spec)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return None
    st.caption(_spec_words(spec))
    return spec


def _kind(name: str) -> str:
    """What stands before a path, so that a data set's own size is its widget's start."""
    return name.partition(":")[0]


def _spec_words(spec: ModelSpec) -> str:
    numbers = parameter_count(spec)
    said = f"{spec.width}×{spec.height} pixels, {spec.channels} channels, {spec.num_classes} classes"
    return said + (f", {_shared.count(numbers)} parameters." if numbers is not None else ".")


def argument_widget(architecture: str, argument: Argument) -> Any:
    """One argument of an architecture; UserError for text that is no list of numbers."""
    key = f"victim_{architecture}_{argument.name}"
    about: dict[str, Any] = {"key": key, "bind": "query-params", "help": argument.help}
    if argument.choices:
        return st.selectbox(argument.name, argument.choices, argument.choices.index(argument.default), **about)
    if isinstance(argument.default, list):
        text = st.text_input(argument.name, " ".join(map(str, argument.default)), **about)
        parts = text.replace(",", " ").split()
        if not all(part.isascii() and part.isdecimal() for part in parts):
            raise UserError(f"{argument.name} takes whole numbers such as 256 128, not {text[:40]!r}.")
        return [int(part) for part in parts]
    return int(st.number_input(argument.name, argument.minimum, argument.maximum, argument.default, **about))


def already_there(job_id: int) -> None:
    """Say when the same training had been asked before, and offer to do it anew."""
    asked = st.session_state.get("training_asked")
    if asked is None or asked[1] != job_id or not asked[2]:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"The same training was in the store already ({asked[3]}): nothing was queued.")
        st.button("Train it anew", key="train_anew", on_click=launch, args=(asked[0], True))
