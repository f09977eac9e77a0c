"""The threat model of `audit`, from its flags: contradictions are refused, what was left out follows the attack."""

import argparse
from typing import Any

from core.attacks.base import Attack
from core.errors import UserError
from core.leakage.threat import CHOICES, MAX_BATCH, ChosenDefence, ThreatModel

LOCAL = {"local_epochs": "--local-epochs", "local_batch": "--local-batch", "local_lr": "--local-lr"}
SHARED = {"batch_size": "--batch-size", "clients": "--clients", "labels": "--label-knowledge"}


def add_threat_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags. None of them has a default here, so that what was said can be told from what was not."""
    threat = parser.add_argument_group("the threat model")
    threat.add_argument(
        "--update",
        choices=CHOICES["update"],
        help="what is shared: gradients (FedSGD), weights (FedAvg) or none, the model alone (default: what the attack "
        "takes, gradients where it takes several)",
    )
    threat.add_argument(
        "--batch-size", type=int, metavar="B", help=f"private images behind one update, 1 to {MAX_BATCH} (default: 1)"
    )
    threat.add_argument(
        "--clients", type=int, metavar="N", help="clients whose updates are averaged; divides B (default: 1)"
    )
    threat.add_argument("--local-epochs", type=int, metavar="E", help="FedAvg: passes over its images (default: 1)")
    threat.add_argument("--local-batch", type=int, metavar="B", help="FedAvg: images of one local step (default: 1)")
    threat.add_argument("--local-lr", type=float, metavar="LR", help="FedAvg: local learning rate (default: 0.01)")
    threat.add_argument(
        "--label-knowledge",
        dest="labels_known",
        choices=CHOICES["labels"],
        help="known: the attacker is told the classes; inferred: it recovers them from the update (default: known)",
    )
    threat.add_argument("--batchnorm", choices=CHOICES["batchnorm"], help="mode in the victim's step (default: eval)")
    threat.add_argument(
        "--no-running-statistics",
        action="store_true",
        default=None,
        help="withhold BatchNorm's running statistics (train mode)",
    )
    threat.add_argument(
        "--batch-statistics",
        action="store_true",
        default=None,
        help="grant BatchNorm's statistics of the private batch (train mode)",
    )
    threat.add_argument(
        "--defence",
        action="append",
        metavar="NAME[:KEY=VALUE,…]",
        help="a defence with its settings; several are applied in their order (default: none; see --list-defences)",
    )
    threat.add_argument(
        "--not-adaptive", action="store_true", default=None, help="do not tell the attacker of the defences"
    )


def threat_model(arguments: argparse.Namespace, attack: Attack) -> ThreatModel:
    """The threat model that the flags ask for. Raises UserError where they contradict each other."""
    usual = "gradients" if "gradients" in attack.updates else attack.updates[0]
    asked: dict[str, Any] = {
        "update": arguments.update or usual,
        "batch_size": arguments.batch_size,
        "clients": arguments.clients,
        "labels": arguments.labels_known,
        "batchnorm": arguments.batchnorm,
        "batch_statistics": arguments.batch_statistics,
        "running_statistics": False if arguments.no_running_statistics else None,
        "adaptive": False if arguments.not_adaptive else None,
        **{name: getattr(arguments, name) for name in LOCAL},
    }
    threat = ThreatModel(
        defences=_defences(arguments.defence or []),
        **{name: value for name, value in asked.items() if value is not None},
    )
    _refuse("is a setting of FedAvg; add --update weights", LOCAL, asked, unless=threat.update == "weights")
    said = "says something about an update, and here nothing is shared but the model; leave it out"
    _refuse(said, SHARED, asked, unless=threat.update != "none")
    if arguments.not_adaptive and not threat.defences:
        raise UserError("--not-adaptive hides a defence from the attacker; name one with --defence.")
    return threat


def _refuse(why: str, flags: dict[str, str], asked: dict[str, Any], *, unless: bool) -> None:
    given = [flag for name, flag in flags.items() if asked[name] is not None]
    if given and not unless:
        raise UserError(f"{given[0]} {why}.")


def _defences(texts: list[str]) -> tuple[ChosenDefence, ...]:
    from core.leakage.defences.text import read_defence

    if "none" not in texts:
        return tuple(read_defence(text) for text in texts)
    if len(texts) > 1:
        raise UserError("--defence none means no defence at all; leave it out, or leave out the others.")
    return ()
