"""The grid of common choices by lists; what it makes is the TOML text, which says everything else."""

from dataclasses import replace

import streamlit as st

from core.attacks import ATTACKS
from core.campaigns.plan import AttackChoice, Campaign, Data, Originals, Threat, Training, Victim
from core.campaigns.toml import write_toml
from core.errors import UserError
from core.images.datasets import DATASETS
from core.images.published import is_here
from core.leakage.defences import DEFENCES
from core.leakage.defences.text import read_defence
from core.leakage.threat import ThreatModel
from core.models.catalogue import CATALOGUE
from core.models.training.recipe import PAPER_RECIPES
from core.names import safe_text
from pages import _shared

FIRST = ("convnet", "resnet20-4", "lenet")
NO_DEFENCE = "none"


def form(text_key: str) -> None:
    """Lists and numbers; the button writes the text under `text_key` in the session."""
    here = [name for name in DATASETS if is_here(name, _shared.settings())]
    trainable = [name for name, one in CATALOGUE.items() if not one.refused]
    left, right = st.columns(2, gap="medium")
    with left:
        st.multiselect("Data sets on this machine", here, default=["photos"], key="form_data")
        st.multiselect(
            "Victims",
            [*FIRST, *(name for name in trainable if name not in FIRST)],
            default=["lenet"],
            format_func=lambda name: CATALOGUE[name].title,
            key="form_victims",
        )
        st.multiselect("Training recipes", list(PAPER_RECIPES), default=["crop+flip"], key="form_recipes")
        st.number_input("Epochs", 1, 10_000, 20, key="form_epochs")
        st.number_input("Images of a training step", 1, 65_536, 8, key="form_batch")
        st.text_input(
            "Attack after these epochs too", key="form_checkpoints", placeholder="such as 1, 5 (none: only the last)"
        )
    with right:
        st.multiselect(
            "Attacks",
            list(ATTACKS),
            default=["inverting-gradients"],
            format_func=lambda name: ATTACKS[name].title,
            key="form_attacks",
        )
        st.multiselect(
            "Defences on the shared update (one setting each)",
            [NO_DEFENCE, *(name for name, one in DEFENCES.items() if one.place != "input")],
            default=[NO_DEFENCE],
            format_func=lambda name: "No defence" if name == NO_DEFENCE else DEFENCES[name].title,
            key="form_defences",
        )
        st.number_input("Originals of each data set", 1, 10_000, 8, key="form_originals")
        st.checkbox("Augment the attacked image as its training did", key="form_augmented")
    st.button(
        "Write this grid as the plan", key="form_write", icon=":material/edit_note:", on_click=_write, args=(text_key,)
    )


def _write(text_key: str) -> None:
    """Button callback."""
    state = st.session_state
    originals = Originals(count=int(state["form_originals"]))
    how = {"epochs": int(state["form_epochs"]), "batch_size": int(state["form_batch"])}
    try:
        checkpoints = _epochs(str(state["form_checkpoints"]))
        campaign = Campaign(
            name="My campaign",
            data=tuple(Data(name, name, originals=originals) for name in state["form_data"]),
            victims=tuple(Victim(CATALOGUE[name].title, name) for name in state["form_victims"]),
            recipes=tuple(
                Training(name, replace(PAPER_RECIPES[name], **how), checkpoints) for name in state["form_recipes"]
            ),
            threats=tuple(
                replace(_threat(name), augmented=bool(state["form_augmented"])) for name in state["form_defences"]
            ),
            attacks=tuple(AttackChoice(ATTACKS[name].title, name) for name in state["form_attacks"]),
        )
    except UserError as error:
        state["campaign_refused"] = str(error)
        return
    state[text_key] = write_toml(campaign)


def _epochs(text: str) -> tuple[int, ...]:
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() and word.isascii() and len(word) < 7 for word in words):
        raise UserError(f"Epochs are whole numbers with commas between, such as 1, 5, not {safe_text(text, 60)!r}.")
    return tuple(sorted({int(word) for word in words}))


def _threat(name: str) -> Threat:
    if name == NO_DEFENCE:
        return Threat("no defence")
    return Threat(DEFENCES[name].title, ThreatModel(defences=(read_defence(name),)))
