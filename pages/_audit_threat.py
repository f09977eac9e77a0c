"""Audit, third choice: the threat model: what is shared, by how many, and what the attacker is given with it."""

from dataclasses import replace

import streamlit as st

from core.attacks import ATTACKS
from core.errors import UserError
from core.jobs.plan import check_fits, check_statistics
from core.leakage.threat import CHOICES, MAX_BATCH, ThreatModel, check_threat
from core.models.catalogue import CATALOGUE
from core.models.spec import ModelSpec
from core.report import threat_words
from pages import _shared
from pages._audit_model import ChosenModel

ASSIGNED = "update_assigned"  # in the session: a default beside a value of ours makes Streamlit warn
NO_STATISTICS = " The model has no BatchNorm statistics to give or to withhold."
NARROW = 150  # px of a number's field


def choose_threat(model: ChosenModel | None, count: int | None) -> tuple[ThreatModel, bool]:
    """Draw what the client shares and what the attacker is given: (threat model, whether it holds together for `count`
    images). Defences are a choice of their own."""
    st.subheader("3  Threat model", anchor=False)
    update = st.segmented_control(
        "What is shared",
        list(CHOICES["update"]),
        default=None if st.session_state.pop(ASSIGNED, False) else "gradients",
        required=True,
        key="update",
        bind="query-params",
        on_change=_update_chosen,
        help="gradients: of one step (FedSGD). weights: the new ones after local training (FedAvg). none: nothing but "
        "the model.",
    )
    threat = ThreatModel(update=update if update in CHOICES["update"] else "gradients")
    if threat.update != "none":
        threat = _images(threat)
    if threat.update == "weights":
        threat = _local(threat)
    entry = CATALOGUE.get(model.spec.architecture) if model is not None else None
    bare = entry is not None and not entry.batchnorm
    threat = threat if bare else _given(threat)
    wrong = problem(threat, count)
    if wrong:
        st.error(_shared.plain(wrong), icon=":material/error:")
    else:
        st.caption(threat_words.sentence(threat) + NO_STATISTICS * bare)
    return threat, not wrong


def problem(threat: ThreatModel, count: int | None) -> str:
    """Why these choices cannot go together, or with `count` images; "" where they can."""
    try:
        check_threat(threat)
    except UserError as error:
        return str(error)
    if count is not None and count % threat.batch_size:
        fitting = [str(size) for size in range(1, min(count, MAX_BATCH) + 1) if count % size == 0]
        return (
            f"{threat_words.images(count)} do not fill updates of {threat.batch_size}; choose updates of "
            f"{', '.join(fitting)}, or a multiple of {threat.batch_size} images."
        )
    return ""


def assign_update(update: str) -> None:
    """Choose what is shared, before its widget is drawn."""
    st.session_state["update"] = update
    st.session_state[ASSIGNED] = True


def _update_chosen() -> None:
    """Callback: an attack on the model alone goes with sharing nothing, and only that."""
    attack, update = ATTACKS.get(str(st.session_state.get("attack"))), st.session_state["update"]
    if attack is None or (update == "none") == attack.model_only:
        return
    for name, other in ATTACKS.items():
        if update in other.updates:
            st.session_state["attack"] = name
            return


def _images(threat: ThreatModel) -> ThreatModel:
    with st.container(horizontal=True):
        batch = st.number_input(
            "Images in one update",
            1,
            MAX_BATCH,
            1,
            key="batch",
            bind="query-params",
            width=NARROW,
            help=f"All private images behind one shared update, 1 to {MAX_BATCH}. More images hide each other. It "
            "divides the number of images chosen above.",
        )
        clients = 1
        if int(batch) > 1:
            clients = st.number_input(
                "Clients",
                1,
                MAX_BATCH,
                1,
                key="clients",
                bind="query-params",
                width=NARROW,
                help="Their updates are averaged before the attacker sees them; they share the images equally.",
            )
        labels = st.segmented_control(
            "Labels",
            ["known", "inferred"],
            default="known",
            required=True,
            key="known",
            bind="query-params",
            help="known: the attacker is told the classes, not which image has which. inferred: it recovers them from "
            "the update.",
        )
    return replace(
        threat, batch_size=int(batch), clients=int(clients), labels="inferred" if labels == "inferred" else "known"
    )


def _local(threat: ThreatModel) -> ThreatModel:
    """FedAvg's local training."""
    with st.container(horizontal=True):
        epochs = st.number_input(
            "Local epochs",
            1,
            100,
            1,
            key="epochs",
            bind="query-params",
            width=NARROW,
            help="Passes over the client's images before it shares its weights.",
        )
        batch = st.number_input(
            "Local batch",
            1,
            MAX_BATCH,
            1,
            key="local_batch",
            bind="query-params",
            width=NARROW,
            help="Images of one local step; at most what a client has.",
        )
        lr = st.number_input(
            "Local learning rate",
            1e-6,
            100.0,
            0.01,
            step=0.001,
            format="%g",
            key="local_lr",
            bind="query-params",
            width=NARROW,
            help="Of the client's plain SGD. The larger it is, the further the weights move from those that the "
            "attacker knows.",
        )
    return replace(threat, local_epochs=int(epochs), local_batch=int(batch), local_lr=float(lr))


def _given(threat: ThreatModel) -> ThreatModel:
    """BatchNorm's mode, and which of its statistics the attacker has."""
    mode = st.segmented_control(
        "BatchNorm in the victim's step",
        ["eval", "train"],
        default="eval",
        required=True,
        key="bn",
        bind="query-params",
        help="eval: it computes with its running statistics. train: with those of the batch itself.",
    )
    train = mode == "train"
    with st.container(horizontal=True):
        running = st.toggle(
            "Running statistics given",
            value=True,
            key="running" if train else "running_fixed",
            bind="query-params" if train else None,
            disabled=not train,
            help="The model reaches the attacker with its BatchNorm running statistics. In eval mode the step needs "
            "them, so whoever has the model has them.",
        )
        private = st.toggle(
            "Batch's statistics given",
            value=False,
            key="private" if train else "private_fixed",
            bind="query-params" if train else None,
            disabled=not train,
            help="The attacker is also given the mean and variance of the private batch in every BatchNorm layer. "
            "Only train mode has them.",
        )
    return replace(
        threat,
        batchnorm="train" if train else "eval",
        running_statistics=bool(running) or not train,
        batch_statistics=bool(private) and train,
    )


def unfit(threat: ThreatModel, spec: ModelSpec | None = None) -> dict[str, str]:
    """Attack -> why it cannot work on what is shared here, at its defaults; those that can are left out."""
    found, plain = {}, replace(threat, defences=())
    for name, attack in ATTACKS.items():
        try:
            check_fits(attack, plain)
            if spec is not None:
                check_statistics(attack, attack.config, spec, plain)
        except UserError as error:
            found[name] = str(error)
    return found
