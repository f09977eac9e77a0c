"""The fast per-problem gradients against plain double backward, layer by layer; and what takes the general path."""

import pytest
import torch
from torch import Tensor, nn

from core.attacks.gradients import gradient_field
from core.models.vision import MathAttention
from tests.attacks.gradient_cases import CLASSES, LAYERS, ONE_VALUE, SHAPE, compare


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # torch says that it copies, and is right
@pytest.mark.parametrize(
    ("name", "batch", "mode"),
    [
        (name, batch, mode)
        for name in LAYERS
        for batch in (1, 3)
        for mode in ("eval", "train")
        if (name, batch, mode) != (ONE_VALUE, 1, "train")  # one value a channel has no variance
    ],
)
def test_each_layer_matches_the_definition(name: str, batch: int, mode: str) -> None:
    first, second = compare(LAYERS[name](), mode, batch, torch.float64, "shared weights")
    assert first < 1e-9
    assert second < 1e-9


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_matches_in_float32(name: str) -> None:
    first, second = compare(LAYERS[name](), "eval", 2, torch.float32, "shared weights")
    assert first < 1e-4
    assert second < 1e-4


class _Transposed(nn.Module):
    """A layer without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.ConvTranspose2d(3, 2, 3), nn.Linear(200, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).sigmoid().flatten(1))


class _Branching(_Transposed):
    """Decides by a value, which vmap refuses."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last((x.sigmoid() if bool(x.sum() < 1e9) else x).flatten(1))


class _Mixing(nn.Module):
    """The batch in the second axis for a while: rows no longer belong to one problem each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 6), nn.Linear(18, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(2).transpose(0, 1)).transpose(0, 1).sigmoid().flatten(1))


class _Masked(nn.Module):
    """Attention that is more than plain self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = MathAttention(24, 3, batch_first=True), nn.Linear(192, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).flatten(2)
        mask = torch.ones(8, 8, dtype=torch.bool, device=x.device).triu(1)
        return self.last(self.attention(x, x, x, need_weights=False, attn_mask=mask)[0].flatten(1))


class _Slopes(nn.Module):
    """One slope for every channel: a weight that broadcasting would put at the wrong axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.slope, self.last = nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.Linear(216, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.slope(self.first(x)).flatten(1))


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (
            _Transposed,
            "torch.func.vmap of grad (failed: conv_transpose2d with a weight of the shape (3, 2, 3, 3) has no",
        ),
        (
            _Branching,
            "a loop over problems (failed: conv_transpose2d with a weight of the shape (3, 2, 3, 3) has no fast",
        ),
        (_Mixing, "torch.func.vmap of grad (was off by"),
        (_Masked, "torch.func.vmap of grad (failed: attention other than plain self-attention has no fast form)"),
        (_Slopes, "torch.func.vmap of grad ("),
    ],
)
def test_other_models_take_the_general_path_and_say_so(model: type[nn.Module], path: str) -> None:
    torch.manual_seed(0)
    first, second = compare(model(), "eval", 2, torch.float64, path)
    assert first < 1e-9
    assert second < 1e-9


def test_without_a_graph_the_gradients_are_the_same() -> None:
    """Called for values alone, as a line search does, also with images that need no gradient."""
    model = LAYERS["bare parameters"]().double()
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, "eval", (2, *SHAPE), CLASSES)
    images = torch.randn(3, 2, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = torch.full((3, 2, CLASSES), 0.2, dtype=torch.float64)
    right = field.evaluate(images.clone().requires_grad_(True), targets)
    with torch.no_grad():
        found = field.evaluate(images, targets)
    assert not found[1].requires_grad
    assert not any(gradient.requires_grad for gradient in found[0])
    for ours, other in zip(found[0], right[0], strict=True):
        torch.testing.assert_close(ours, other.detach(), rtol=1e-12, atol=1e-14)


def test_only_the_named_parameters_come_back() -> None:
    model = LAYERS["conv"]().double()
    field = gradient_field(model, ["1.bias", "0.0.weight"], "eval", (1, *SHAPE), CLASSES)
    images = torch.randn(2, 1, *SHAPE, dtype=torch.float64).requires_grad_(True)
    gradients, _ = field.evaluate(images, torch.full((2, 1, CLASSES), 0.2, dtype=torch.float64))
    assert field.path.startswith("shared weights")
    assert [tuple(gradient.shape) for gradient in gradients] == [(2, CLASSES), (2, 4, 3, 3, 3)]


def test_a_parameter_that_is_not_used_has_a_zero_gradient() -> None:
    model = LAYERS["conv"]()
    model.spare = nn.Parameter(torch.ones(3))
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, "eval", (1, *SHAPE), CLASSES)
    gradients, _ = field.evaluate(torch.randn(2, 1, *SHAPE).requires_grad_(True), torch.full((2, 1, CLASSES), 0.2))
    assert field.path.startswith("shared weights")
    assert torch.equal(gradients[names.index("spare")], torch.zeros(2, 3))


def test_the_model_is_left_as_it_was() -> None:
    model = LAYERS["batchnorm"]()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    names = [name for name, _ in model.named_parameters()]
    field = gradient_field(model, names, "train", (2, *SHAPE), CLASSES)
    field.evaluate(torch.randn(2, 2, *SHAPE, requires_grad=True), torch.full((2, 2, CLASSES), 0.2))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
