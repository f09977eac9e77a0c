"""What can be said of an attack before it runs: reasons why it may be hopeless, each with its figure. No torch.

None of them forbids a run. What follows from the update itself (a gradient near zero, a saturated model) is measured
beside the time estimate; here stands what follows from the choices alone.
"""

from __future__ import annotations

from core.attacks import ATTACKS
from core.attacks.base import Attack
from core.jobs.compose import AttackRequest
from core.leakage.threat import ThreatModel
from core.models.catalogue import CATALOGUE, arguments_of
from core.models.sizes import parameter_count
from core.models.spec import ModelSpec
from core.registry import look_up

SMOOTH_SEARCH = ("dlg", "idlg")  # quasi-Newton searches: they need a loss that is smooth in the image
STEP_AWARE = ("fedavg-simulated", "sme")  # they model the client's local steps
BLURRED = 4  # local steps from which on a weight difference is far from one gradient


def outlook(request: AttackRequest) -> tuple[str, ...]:
    """Sentences to read before the launch; empty where nothing speaks against the run."""
    attack = look_up(ATTACKS, request.attack, "attack")
    if attack.model_only:
        return _nonempty(_single_class(request))
    return _nonempty(
        "" if attack.prepare is not None else _too_few_numbers(request.spec, request.threat),  # it adds its own layer
        _not_smooth(request.spec, attack),
        _blurred(attack, request.threat),
        _untold(request.threat),
        _no_other_update(request),
    )


def _nonempty(*sentences: str) -> tuple[str, ...]:
    return tuple(sentence for sentence in sentences if sentence)


def _too_few_numbers(spec: ModelSpec, threat: ThreatModel) -> str:
    """Fewer numbers in the update than in the images: no attack can tell all of them from the update alone."""
    known = parameter_count(spec)
    wanted = threat.batch_size * spec.channels * spec.height * spec.width
    if known is None or known >= wanted:
        return ""
    return (
        f"The update has {known:,} numbers and its {threat.batch_size} images have {wanted:,}: many other images give "
        "the same update, so only what a prior adds can come back. Choose fewer images an update, or a larger model."
    )


def _not_smooth(spec: ModelSpec, attack: Attack) -> str:
    if attack.name.removesuffix("-paper") not in SMOOTH_SEARCH or is_smooth(spec):
        return ""
    title = CATALOGUE[spec.architecture].title
    return (
        f"{attack.title} searches with second differences and needs smooth activations; {title} has ReLUs or "
        "max-pooling, where it often stops early. Inverting Gradients is made for such models."
    )


def is_smooth(spec: ModelSpec) -> bool:
    """True for a model whose gradient changes smoothly with the image: no ReLU, no max-pooling."""
    if spec.architecture == "mlp":
        return bool(arguments_of(spec)["activation"] != "relu")
    return spec.architecture.startswith(("lenet", "vit", "convnext", "swin"))


def _blurred(attack: Attack, threat: ThreatModel) -> str:
    if attack.name in STEP_AWARE or threat.local_steps < BLURRED:
        return ""
    return (
        f"The client makes {threat.local_steps} local steps, and {attack.title} takes their sum for one gradient, "
        f"which is less true with every step. {' or '.join(STEP_AWARE)} follow the steps."
    )


def _untold(threat: ThreatModel) -> str:
    if not threat.defences or threat.adaptive:
        return ""
    return (
        "The attacker is not told of the defence. An attack that knows it may show more, so what this one does not "
        "show says little."
    )


def _no_other_update(request: AttackRequest) -> str:
    if len(request.prepared) > request.threat.batch_size or not request.controls:
        return ""
    return "With one update there is no mismatched control: choose images for a second update to have one."


def _single_class(request: AttackRequest) -> str:
    if len({image.label for image in request.prepared}) > 1:
        return ""
    return "All images are of one class, so there is no other class for the mismatched control: add images of another."
