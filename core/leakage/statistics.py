"""BatchNorm on the client's side: its mode, the statistics of private batches, and those that the attacker lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BatchNorm = nn.modules.batchnorm._BatchNorm


@contextmanager
def batchnorm_mode(model: nn.Module, mode: str) -> Iterator[None]:
    """The model in eval mode, but its BatchNorm layers in `mode` (eval or train); put back afterwards."""
    before = {layer: layer.training for layer in model.modules()}
    try:
        model.eval()
        for layer in before:
            if isinstance(layer, BatchNorm):
                layer.train(mode == "train")
        yield
    finally:
        for layer, training in before.items():
            layer.training = training


class BatchStatistics:
    """What BatchNorm layers in train mode see of the batches that pass while this is entered, averaged over batches."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._seen: dict[str, list[Tensor]] = {}

    def __enter__(self) -> BatchStatistics:
        self._hooks = [
            layer.register_forward_pre_hook(self._hook(name))
            for name, layer in self.model.named_modules()
            if isinstance(layer, BatchNorm)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if layer.training:
                channels = inputs[0].detach().transpose(0, 1).flatten(1)
                self._seen.setdefault(f"{name}.mean", []).append(channels.mean(1))
                self._seen.setdefault(f"{name}.var", []).append(channels.var(1, unbiased=False))

        return look

    def mean(self) -> dict[str, Tensor]:
        """ "LAYER.mean" and "LAYER.var" (biased) -> (channels,); empty where no BatchNorm was in train mode."""
        return {name: torch.stack(seen).mean(0) for name, seen in self._seen.items()}


def without_running_statistics(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's state dict with fresh running statistics (mean 0, variance 1, no batch seen) in place of its own."""
    fresh = dict(state)
    for prefix, layer in model.named_modules():
        if isinstance(layer, BatchNorm) and layer.track_running_stats:
            dot = f"{prefix}." if prefix else ""
            for name, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
                if dot + name in fresh:
                    fresh[dot + name] = torch.full_like(fresh[dot + name], value)
    return fresh
