"""The training form's recipe: one of the paper's or any other, every knob with its meaning; what policies look like."""

from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np
import streamlit as st

from core.errors import UserError
from core.images.policies import parse, preview, title_of
from core.knobs import changed
from core.models.catalogue import CATALOGUE
from core.models.spec import ModelSpec
from core.models.training.checks import check_recipe
from core.models.training.privacy import CURVE_NOTE, UNIT, epsilon_of
from core.models.training.recipe import PAPER_RECIPES, Recipe
from core.storage.artifacts import encode_png
from pages import _shared
from pages._audit_knobs import changed_line, knobs

RECIPE = "recipe"  # in the link: the recipe that the knobs start from
ARCHITECTURE = "architecture"  # in the link: the architecture that the form trains
BASIC = ("epochs", "batch_size", "learning_rate", "augment", "policies", "defence")
GROUPS = {
    "Optimiser and schedule": ("optimiser", "momentum", "nesterov", "weight_decay", "schedule", "warmup"),
    "Targets": ("label_smoothing", "mixup"),
    "Arithmetic, start and what is kept": ("precision", "start", "keep_epochs", "seed"),
}
DEFENCE_KNOBS = {
    "gaussian": ("noise",),
    "prune": ("prune",),
    "dp-sgd": ("dp_noise", "dp_norm", "dp_delta"),
}
PREVIEWS = 6  # pictures beside the original
OFFERED = ("3-1-7", "43-18-18")  # the paper's, shown while none is chosen


def differing() -> tuple[str, ...]:
    """Fields in which the paper's recipes differ from each other: their widgets belong to one recipe."""
    every = [asdict(recipe) for recipe in PAPER_RECIPES.values()]
    return tuple(name for name in every[0] if any(one[name] != every[0][name] for one in every))


def choose_recipe(spec: ModelSpec | None, count: int | None, sample: np.ndarray | None) -> Recipe | None:
    """Draw the recipe; None where a value is refused, which is then said.

    count: training images. sample: (H, W, 3) uint8, what policies are shown on.
    """
    names = list(PAPER_RECIPES)
    start = st.selectbox(
        "Start from a recipe of the paper",
        names,
        index=names.index("crop+flip"),
        key=RECIPE,
        bind="query-params",
        help="The seven recipes of the paper's CIFAR-100 study. Every knob below may be changed.",
    )
    base = PAPER_RECIPES.get(str(start), Recipe())
    own, slug = differing(), names.index(str(start)) if start in names else 0

    def key(field: str) -> str:
        return f"recipe{slug}_{field}" if field in own else f"recipe_{field}"

    values: dict[str, Any] = {}
    parts = [knobs(base, key, only=BASIC, columns=3)]
    defence = str((parts[0] or {}).get("defence", base.defence))
    if defence in DEFENCE_KNOBS:
        parts.append(knobs(base, key, only=DEFENCE_KNOBS[defence], columns=3))
    with st.expander("Every other setting", icon=":material/tune:"):
        for group, names_of in GROUPS.items():
            st.markdown(f"**{group}**")
            parts.append(knobs(base, key, only=names_of, columns=3))
    for part in parts:
        if part is None:
            return None
        values |= part
    changed_line(values)
    recipe: Recipe = changed(base, values)
    policies_shown(recipe.policies, sample)
    return recipe if _sound(recipe, spec, count) else None


def _sound(recipe: Recipe, spec: ModelSpec | None, count: int | None) -> bool:
    """Check the whole, and say what DP-SGD will have spent."""
    if spec is None or count is None:
        return True
    if recipe.defence == "dp-sgd":
        suggest_groupnorm(spec)
    try:
        check_recipe(recipe, spec, count)
        if recipe.defence == "dp-sgd":
            privacy(recipe, count)
    except UserError as error:
        st.error(_shared.plain(str(error)), icon=":material/error:")
        return False
    return True


def privacy(recipe: Recipe, count: int) -> None:
    """ε at δ, the sampling rate and the unit, before the launch."""
    spent, rate = epsilon_of(recipe, count), recipe.batch_size / count
    said = f"**ε = {_shared.number(spent)}** at δ = {recipe.dp_delta:g}" if np.isfinite(spent) else "**ε is unbounded**"
    st.info(
        f"{said} after {_shared.count(recipe.epochs)} epochs. Unit: {UNIT}. Sampling rate: "
        f"{_shared.number(rate)} ({recipe.batch_size} expected of {_shared.count(count)} images a step, drawn by "
        f"chance), noise multiplier {recipe.dp_noise:g}. {CURVE_NOTE}",
        icon=":material/shield_lock:",
    )


def suggest_groupnorm(spec: ModelSpec) -> None:
    """BatchNorm mixes images, which DP-SGD may not: name the variant with GroupNorm where there is one."""
    known = CATALOGUE.get(spec.architecture)
    other = f"{spec.architecture}-gn"
    if known is None or not known.batchnorm or other not in CATALOGUE:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/lightbulb: {_shared.plain(CATALOGUE[other].title)} takes DP-SGD.")
        st.button(f"Take {other}", key="take_gn", on_click=_take, args=(other,))


def _take(architecture: str) -> None:
    st.session_state[ARCHITECTURE] = architecture


# --- what a policy does -----------------------------------------------------------------------------------
def policies_shown(chosen: str, sample: np.ndarray | None) -> None:
    """The sample picture through each policy: those that are chosen, or the paper's two to choose from."""
    if sample is None:
        return
    with st.expander("What each ATS policy does to a picture", icon=":material/filter_b_and_w:", expanded=bool(chosen)):
        wanted = [part.strip() for part in chosen.split("+")] if chosen.strip() else list(OFFERED)
        for policy in wanted[:8]:
            try:
                st.html(policy_html(policy, sample))
            except UserError as error:
                st.error(_shared.plain(str(error)), icon=":material/error:")
                return
        st.caption(
            "A policy such as 3-1-7 is a row of transformations of the authors' list (numbers 0 to 49), applied one "
            "after the other; with + between several, each image draws one. Signs are drawn for each image."
        )


def policy_html(policy: str, sample: np.ndarray) -> str:
    """A row: the picture, then what the policy makes of it under PREVIEWS seeds, then its transformations in words."""
    (numbers,) = parse(policy)
    steps = ", ".join(title_of(number) for number in numbers)
    made = _preview(policy, sample.tobytes(), sample.shape)
    figures = [_shared.figure(_url(sample), "The picture before the policy", 84, "before")]
    figures += [
        _shared.figure(url, f"Policy {policy}, drawn with seed {seed}: {steps}", 84, f"seed {seed}")
        for seed, url in enumerate(made)
    ]
    return f"<p class=policy><b>{escape(policy)}</b>: {escape(steps)}</p>{_shared.pictures_html(figures)}"


@st.cache_data(show_spinner=False, max_entries=64)
def _preview(policy: str, pixels: bytes, shape: tuple[int, ...]) -> list[str]:
    picture = np.frombuffer(pixels, np.uint8).reshape(shape)
    return [_url(image) for image in preview(policy, picture, range(PREVIEWS))]


def _url(pixels: np.ndarray) -> str:
    return _shared.data_url(encode_png(np.ascontiguousarray(pixels)), 96)
