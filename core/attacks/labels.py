"""Labels read off the update itself, for threat models that do not grant them. The rules in words: `label_rules.py`.

With g the gradient of the last layer's bias, W that of its weight, p the softmax of an image and h its last features,
the mean cross-entropy over B images gives g_k = mean p_k − n_k/B and W_k = mean (p_k − [label = k]) h.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from core.attacks.label_rules import check_label_rule
from core.errors import UserError
from core.leakage.observation import Observation
from core.leakage.victim import normalise
from core.models.build import build_model

ROUNDING = 1e-6  # of a probability: what float32 may leave of a class that was given back in full
MADE_UP = 64  # pictures over which the expected probability is averaged
UNREADABLE = "labels not readable: the last layer's gradient is {}"


def recover_labels(observation: Observation, rule: str = "auto") -> Tensor:
    """(N, B) int64, the classes of each update sorted by number: which image has which class is not known.

    rule: a name of LABEL_RULES. An update whose last layer's gradient is zero or not finite has no labels to read: it
    gets class 0 throughout, and `unreadable` says so. Raises UserError for a model on which the rule cannot work.
    """
    check_label_rule(rule)
    bias, weight = last_layer(observation)
    size = observation.batch_size
    if rule == "auto":
        rule = "wainakh-star" if bias is None else "bias-corrected"
        if size == 1:
            rule = "wainakh" if bias is None else "bias-sign"
    if rule in ("bias-sign", "bias-corrected"):
        if bias is None:
            raise UserError(
                f"The label rule {rule} needs a last layer with a bias, and this model's has none; choose wainakh."
            )
        found = from_bias(bias, size, made_up(observation)[0] if rule == "bias-corrected" else None)
    elif rule == "wainakh-star":
        expected, features = made_up(observation)
        if bool((features <= 0).any()):
            raise UserError(
                "The model's last features sum to 0 or less on made-up pictures, so wainakh-star cannot scale its "
                "rows; choose another label rule, or labels: known."
            )
        found = from_bias(weight.sum(-1) / features[:, None], size, expected)
    else:
        found = {"idlg": from_signs, "yin": from_minima, "wainakh": from_row_sums}[rule](weight, size)
    blind = torch.tensor([bool(why) for why in unreadable(observation)], device=found.device)
    return found.masked_fill(blind[:, None], 0)


def unreadable(observation: Observation) -> tuple[str, ...]:
    """For each update why its labels cannot be read, for the attack's status, or ""."""
    bias, weight = last_layer(observation)
    values = weight.flatten(1) if bias is None else torch.cat([weight.flatten(1), bias], 1)
    finite, some = values.isfinite().all(1).tolist(), (values != 0).any(1).tolist()
    whys = ("" if ok and any_ else "zero" if ok else "not finite" for ok, any_ in zip(finite, some, strict=True))
    return tuple(UNREADABLE.format(why) if why else "" for why in whys)


def last_layer(observation: Observation) -> tuple[Tensor | None, Tensor]:
    """Gradients of the classifier's bias (N, K), if any, and weight (N, K, features). Raises UserError without one."""
    name = _last_layer_name(observation)
    return observation.gradients.get(f"{name}.bias"), observation.gradients[f"{name}.weight"]


def _last_layer_name(observation: Observation) -> str:
    classes = observation.spec.num_classes
    if classes < 2:
        raise UserError("The model has one class only, so there is no label to infer; audit a model with 2 or more.")
    for name in reversed(observation.gradients):
        shape = observation.gradients[name].shape
        if len(shape) == 3 and shape[1] == classes and name.endswith(".weight"):
            return name.removesuffix(".weight")
    raise UserError(
        f"The labels cannot be inferred: the model has no last linear layer with {classes} rows; choose labels: known."
    )


def from_signs(gradient: Tensor, batch_size: int) -> Tensor:
    """iDLG: (N, K, features) -> (N, B). The classes with a negative row sum, the most negative first, over and over
    until there are B; where no row is negative, the lowest one."""
    sums = gradient.sum(-1)
    order = sums.argsort(dim=1, stable=True)
    count = (sums < 0).sum(1, keepdim=True).clamp(1, batch_size)
    places = torch.arange(batch_size, device=sums.device) % count
    return order.gather(1, places).sort(1).values


def from_minima(gradient: Tensor, batch_size: int) -> Tensor:
    """Yin: (N, K, features) -> (N, B), the B classes with the lowest entries, over and over if K < B."""
    order = gradient.amin(-1).argsort(dim=1, stable=True)
    places = torch.arange(batch_size, device=order.device) % order.shape[1]
    return order[:, places].sort(1).values


def from_bias(gradient: Tensor, batch_size: int, expected: Tensor | None = None) -> Tensor:
    """(N, K) -> (N, B). The gradient is the mean probability of each class minus its share of the batch, so the most
    negative class is picked, 1/B given back to it, and so on. As long as one is below 0 it is proven, as probabilities
    are not negative. With `expected` (K,) or (N, K) the other picks go by what is left beyond that probability.
    """
    offset = torch.zeros_like(gradient[0]) if expected is None else expected
    left, picked = gradient.clone(), []
    rows = torch.arange(len(left), device=left.device)
    for _ in range(batch_size):
        proven = left < -ROUNDING
        corrected = torch.where(proven.any(1, keepdim=True), left, left - offset)
        choice = corrected.argmin(1)
        left[rows, choice] += 1 / batch_size
        picked.append(choice)
    return torch.stack(picked, dim=1).sort(dim=1).values


def made_up(observation: Observation) -> tuple[Tensor, Tensor]:
    """What the model makes of made-up pictures, flat colours with noise: the mean softmax (N, K), and the mean sum of
    the last layer's features (N,). For FedAvg the mean of the weights that were sent and those that came back, between
    which the client's steps lie."""
    spec = observation.spec
    model = build_model(spec, observation.weights).to(observation.device).requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train(observation.batchnorm == "train")
    features: list[Tensor] = []
    last = model.get_submodule(_last_layer_name(observation))
    last.register_forward_pre_hook(lambda _layer, inputs: features.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(MADE_UP, spec.channels, 1, 1, generator=generator)
    noise = torch.randn(MADE_UP, spec.channels, spec.height, spec.width, generator=generator)
    images = normalise((colours + 0.2 * noise).clamp(0, 1).to(observation.device), spec)

    def look(changed: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        expected = functional_call(model, {**buffers, **changed}, (images,)).softmax(-1).mean(0)
        return expected, features.pop().flatten(1).sum(1).mean()

    looks = [look({})] * observation.count
    if observation.local is not None:
        way = observation.local.lr * observation.local.steps
        for n in range(observation.count):
            end = look({name: observation.weights[name] - way * g[n] for name, g in observation.gradients.items()})
            looks[n] = ((looks[n][0] + end[0]) / 2, (looks[n][1] + end[1]) / 2)
    expected, total = (torch.stack(column) for column in zip(*looks, strict=True))
    return expected, total


def from_row_sums(gradient: Tensor, batch_size: int) -> Tensor:
    """(N, K, features) -> (N, B) by the sums over features, which have the sign of the bias gradient when features are
    not negative: a negative row proves that its class is in the update. One image: the most negative row. A batch
    (Wainakh et al., arXiv 2105.09369): first every negative row once, at most B; then greedily the most negative of
    what is left. Each pick takes off the impact of one image, Σ of the negative sums × (1 + 1/K) / B.
    """
    sums = gradient.sum(-1)
    if batch_size == 1:
        return sums.argmin(1, keepdim=True)
    impact = sums.clamp(max=0).sum(1) * (1 + 1 / sums.shape[1]) / batch_size
    return _greedy(sums, -impact, batch_size, proven=sums < 0)


def _greedy(sums: Tensor, refund: Tensor, batch_size: int, proven: Tensor) -> Tensor:
    """(N, K) sums and bool, refund (N,) -> (N, B) sorted: the classes `proven` once each, then the most negative."""
    left, waiting, picked = sums.clone(), proven.clone(), []
    rows = torch.arange(len(sums), device=sums.device)
    for _ in range(batch_size):
        barred = waiting.any(1, keepdim=True) & ~waiting
        choice = left.masked_fill(barred, torch.inf).argmin(1)
        left[rows, choice] += refund
        waiting[rows, choice] = False
        picked.append(choice)
    return torch.stack(picked, dim=1).sort(dim=1).values
