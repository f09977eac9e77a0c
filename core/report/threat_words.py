"""A threat model in words: one sentence, and rows for a table of settings. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from core.attacks.base import Attack
from core.leakage.defences import DEFENCES
from core.leakage.threat import ThreatModel

UPDATES = {"gradients": "gradient (FedSGD)", "weights": "new weights (FedAvg)", "none": "nothing: the model alone"}


def images(count: int) -> str:
    """ "1 image", "8 images"."""
    return f"{count} image{'' if count == 1 else 's'}"


def needs(attack: Attack) -> str:
    """What the attack takes, in one sentence."""
    if attack.model_only:
        return "Needs: the model alone; what it makes is compared with the nearest original of its class (by MSE)."
    shared = " or ".join(UPDATES[one] for one in attack.updates)
    return f"Needs: {shared}; {images(attack.max_batch)} an update at most."


def sentence(threat: ThreatModel) -> str:
    """What reaches the attacker, in one sentence."""
    own = images(threat.client_images)
    many = f"{threat.clients} clients" if threat.clients > 1 else "The client"
    if threat.update == "none":
        return "No update is shared: the attacker has the model, and makes images of the classes of your originals."
    if threat.update == "gradients":
        if threat.clients == 1:
            return f"The attacker sees the mean gradient of {own}."
        return f"{many} hold {own} each; the attacker sees the mean of their gradients."
    steps = f"{threat.local_steps} local step{'' if threat.local_steps == 1 else 's'}"
    if threat.clients == 1:
        return f"The client makes {steps} on {own}; the attacker sees how the weights moved."
    return f"{many} make {steps} each on {own} of their own; the attacker sees the mean of how the weights moved."


def rows(threat: ThreatModel) -> dict[str, Any]:
    """Every setting that matters here, name -> value."""
    found: dict[str, Any] = {"Shared": UPDATES[threat.update], "Images in one update": threat.batch_size}
    if threat.clients > 1:
        found["Clients in one update"] = threat.clients
    if threat.update == "weights":
        found |= {
            "Local epochs": threat.local_epochs,
            "Local batch": threat.local_batch,
            "Local learning rate": f"{threat.local_lr:g}",
        }
    found |= {
        "BatchNorm in the victim's step": threat.batchnorm,
        "Running statistics": "given" if threat.running_statistics else "withheld",
        "Statistics of the private batch": "given" if threat.batch_statistics else "withheld",
        "Labels": threat.labels,
    }
    for place, chosen in enumerate(threat.defences, start=1):
        title = DEFENCES[chosen.name].title if chosen.name in DEFENCES else chosen.name
        found[f"Defence {place}"] = f"{title} ({settings(chosen.settings)})" if chosen.settings else title
    if threat.defences:
        found["The attacker is told of the defence"] = "yes" if threat.adaptive else "no"
    return found


def settings(values: Mapping[str, Any]) -> str:
    """ "std = 0.001, scale = absolute"."""
    return ", ".join(f"{name} = {value}" for name, value in values.items())
