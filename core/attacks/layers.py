"""Per-problem weight gradients of one forward pass, whatever uses the weights: layers, attention, or bare parameters.

`Taps` watches every torch function that the model calls (a TorchFunctionMode). Where a weight meets activations it
computes the result with the weight held fixed, and notes how the weight's gradient for each problem follows from the
gradient of that result. What depends on weights alone (a table of position biases looked up, say) is computed once,
and its gradient is carried on to the weights. Activations have the problems in their leading axis: (P·k, …), where
problem p owns rows p·k … p·k + k − 1. What does not fit raises `NoFastForm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

Parts = list[tuple[Tensor | None, Tensor]]  # (weight, its gradient (P, *shape))
Rule = Callable[[Tensor], Parts]  # from the gradient of a result to those of the weights in it
Stand = Callable[..., Any]


class NoFastForm(RuntimeError):
    """The model uses a weight in a way that has no rule here."""


class Taps(TorchFunctionMode):
    """Watches one forward pass of `problems` problems, `images` images in all.

    parameters: all weights of the model. rules: what stands in for a torch function, called with these taps and the
    function's own arguments.
    """

    def __init__(
        self, parameters: Iterable[Tensor], rules: Mapping[Callable[..., Any], Stand], problems: int, images: int
    ) -> None:
        super().__init__()
        self.stands, self.problems, self.images = rules, problems, images
        self.parameters = list(parameters)
        self.weights = {id(weight): weight for weight in self.parameters}  # and what is made of weights alone
        self.edges: list[GradientEdge] = []
        self.rules: list[Rule] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        stand = self.stands.get(func)
        if stand is not None and func is F.batch_norm:  # also without weights: the batch is one problem's
            return stand(self, *args, **kwargs)
        tensors = _tensors((*args, *kwargs.values()))
        weights = self.weights
        if not any(id(tensor) in weights for tensor in tensors):
            return func(*args, **kwargs)
        if any(tensor.requires_grad and id(tensor) not in weights for tensor in tensors):
            return self._lifted(func, args, kwargs) if stand is None else stand(self, *args, **kwargs)
        if func is Tensor.expand and self._for_each_image(args):
            return self._lift(args[0], self.images, args[0].shape).expand(*_sizes(args[1:]))
        return self._derived(func(*args, **kwargs))

    def fixed(self, weight: Tensor) -> Tensor:
        """The weight's numbers, through which no gradient flows."""
        if weight.requires_grad and id(weight) not in self.weights:
            raise NoFastForm("a layer's weight depends on the images")
        return weight.detach()

    def tap(self, result: Tensor, rule: Rule) -> Tensor:
        """Note how weights' gradients follow from that of `result`, which later work in place does not touch."""
        self.edges.append(get_gradient_edge(result))
        self.rules.append(rule)
        return result

    def gradients(self, loss: Tensor, wanted: Iterable[Tensor], create_graph: bool) -> list[Tensor]:
        """One (P, *shape) for each wanted parameter, of the sum of the problems' losses; zero where it is not used."""
        outer = torch.autograd.grad(loss, self.edges, create_graph=create_graph, allow_unused=True)
        sums: dict[int, Tensor] = {}
        with torch.set_grad_enabled(create_graph):
            for gradient, rule in zip(outer, self.rules, strict=True):
                for weight, value in [] if gradient is None else rule(gradient):
                    if weight is not None and id(weight) in self.weights:
                        key = id(weight)
                        sums[key] = sums[key] + value if key in sums else value
            self._carry_on(sums, create_graph)
            return [
                sums[id(weight)] if id(weight) in sums else loss.new_zeros(self.problems, *weight.shape)
                for weight in wanted
            ]

    def _carry_on(self, sums: dict[int, Tensor], create_graph: bool) -> None:
        """From what is made of weights to the weights themselves: a vector-Jacobian product for each problem."""
        own = {id(weight) for weight in self.parameters}
        made = [key for key in sums if key not in own]
        if not made:
            return
        rows = torch.autograd.grad(
            [self.weights[key] for key in made],
            self.parameters,
            [sums[key] for key in made],
            is_grads_batched=True,
            create_graph=create_graph,
            retain_graph=True,
            allow_unused=True,
        )
        for weight, value in zip(self.parameters, rows, strict=True):
            if value is not None:
                sums[id(weight)] = sums[id(weight)] + value if id(weight) in sums else value

    def _derived(self, result: Any) -> Any:
        for tensor in _tensors(result if isinstance(result, tuple | list) else (result,)):
            if tensor.requires_grad:
                self.weights[id(tensor)] = tensor
        return result

    def _for_each_image(self, args: tuple[Any, ...]) -> bool:
        weight, sizes = args[0], _sizes(args[1:])
        return self.images > 1 and len(sizes) == weight.dim() and weight.shape[0] == 1 and sizes[0] == self.images

    def _lifted(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """func with every weight given as a copy for each row of the activations, by the rules of broadcasting."""
        shapes = [t.shape for t in _tensors((*args, *kwargs.values())) if t.requires_grad and id(t) not in self.weights]
        rows, axes = shapes[0][0], max(len(shape) for shape in shapes)

        def lift(value: Any) -> Any:
            if isinstance(value, tuple | list):
                return type(value)(lift(part) for part in value)
            if not isinstance(value, Tensor) or id(value) not in self.weights:
                return value
            shape = (1,) * (axes - value.dim()) + tuple(value.shape)
            if len(shape) > axes or shape[0] != 1 or rows % self.problems:
                raise NoFastForm(f"{_name(func)} with a weight of the shape {tuple(value.shape)} has no fast form")
            return self._lift(value, rows, shape)

        return func(*lift(args), **{key: lift(value) for key, value in kwargs.items()})

    def _lift(self, weight: Tensor, rows: int, shape: Sequence[int]) -> Tensor:
        """(rows, *shape[1:]): the weight, for each problem a leaf of its own."""
        leaf = weight.detach().reshape(shape).expand(self.problems, *shape[1:]).requires_grad_(True)
        self.tap(leaf, lambda outer: [(weight, outer.reshape(self.problems, *weight.shape))])
        return leaf.unsqueeze(1).expand(-1, rows // self.problems, *shape[1:]).reshape(rows, *shape[1:])


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found += [part for part in value if isinstance(part, Tensor)]
    return found


def _sizes(values: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(values[0]) if len(values) == 1 and not isinstance(values[0], int) else values


def _name(func: Callable[..., Any]) -> str:
    return getattr(func, "__name__", str(func))
