"""fit against a plain loop of torch's own parts, and what it tells and refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.errors import UserError
from core.models.build import build_model
from core.models.spec import ModelSpec
from core.models.training import draws
from core.models.training.loop import fit
from core.models.training.progress import TrainingCancelled
from core.models.training.recipe import Recipe
from core.models.training.schedule import steps_per_epoch
from core.models.training.simple import normalised
from tests.models.training.helpers import COUNT, LENET, NORMED, PLAIN, Told, checkpoint_at, data, train

OPTIMISERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=5e-4),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=5e-4),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.001, momentum=0.9, weight_decay=5e-4),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.01, weight_decay=5e-4),
}


def plain_loop(spec: ModelSpec, recipe: Recipe, smoothing: float = 0.0) -> tuple[dict[str, Tensor], list[float]]:
    """The recipe without augmentation, written out; weights and the mean gradient norm of each epoch."""
    images, labels = data(channels=spec.channels)
    # In the same memory order: another rounding now and then puts a ReLU's input on the other side of 0.
    layout = torch.channels_last
    x, y = normalised(spec, images).contiguous(memory_format=layout), torch.from_numpy(labels)
    model = build_model(spec).train().to(memory_format=layout)
    optimiser = OPTIMISERS[recipe.optimiser](model.parameters())
    norms = []
    for epoch in range(recipe.epochs):
        found = []
        for rows in np.array_split(draws.order(recipe.seed, epoch, COUNT), [8, 16]):
            optimiser.zero_grad()
            nn.CrossEntropyLoss(label_smoothing=smoothing)(
                model(x[rows].contiguous(memory_format=layout)), y[rows]
            ).backward()
            found.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))  # type: ignore[union-attr]
            optimiser.step()
        norms.append(float(np.mean(found)))
    return model.state_dict(), norms


@pytest.mark.parametrize(
    ("spec", "optimiser", "rate", "smoothing"),
    [
        (LENET, "sgd", 0.05, 0.0),
        (NORMED, "sgd", 0.05, 0.1),
        (LENET, "adam", 0.01, 0.0),
        (LENET, "adamw", 0.01, 0.0),
        (LENET, "rmsprop", 0.001, 0.0),
        (LENET, "adagrad", 0.01, 0.0),
    ],
)
def test_same_weights_as_a_plain_loop(spec: ModelSpec, optimiser: str, rate: float, smoothing: float) -> None:
    momentum = 0.9 if optimiser in ("sgd", "rmsprop") else 0.0
    recipe = replace(PLAIN, optimiser=optimiser, learning_rate=rate, momentum=momentum, label_smoothing=smoothing)
    trained = train(spec, recipe)
    expected, norms = plain_loop(spec, recipe, smoothing)
    for name, tensor in expected.items():
        torch.testing.assert_close(trained.weights[name], tensor, rtol=1e-4, atol=1e-5)
    assert [row.gradient_norm for row in trained.rows] == pytest.approx(norms, rel=1e-4)


def test_rows_say_what_was_seen() -> None:
    told = Told()
    trained = train(LENET, replace(PLAIN, learning_rate=1e-6), told)
    assert trained.rows == tuple(told.rows)
    assert [row.epoch for row in told.rows] == [1, 2]
    # At so small a rate the weights hardly move: the losses are those of the drawn weights on all images.
    images, labels = data()
    with torch.no_grad():
        logits = build_model(LENET)(normalised(LENET, images))
    loss = float(nn.functional.cross_entropy(logits, torch.from_numpy(labels)))
    right = (logits.argmax(1).numpy() == labels).astype(float)
    held = float(nn.functional.cross_entropy(logits[:5], torch.from_numpy(labels[:5])))
    for row in told.rows:
        assert row.train_loss == pytest.approx(loss, rel=1e-3)
        assert row.train_accuracy == pytest.approx(right.mean())
        assert row.held_out_loss == pytest.approx(held, rel=1e-3)
        assert row.held_out_accuracy == pytest.approx(right[:5].mean())
        assert row.images_per_second > 0
        assert row.epsilon is None
    assert len(told.losses) == 6
    assert all(loss is not None for loss in told.losses)


def test_starting_weights_can_be_given() -> None:
    start = {name: tensor + 1 for name, tensor in build_model(LENET).state_dict().items()}
    images, labels = data()
    recipe = replace(PLAIN, epochs=1, learning_rate=1e-9)
    trained = fit(LENET, images, labels, images[:0], labels[:0], recipe, weights=start)
    for name, tensor in start.items():
        torch.testing.assert_close(trained.weights[name], tensor, rtol=0, atol=1e-4)
    assert math.isnan(trained.rows[0].held_out_accuracy)
    with pytest.raises(UserError, match="ImageNet's weights"):
        fit(LENET, images, labels, images, labels, replace(recipe, start="imagenet"))


def test_chosen_epochs_are_kept() -> None:
    told = Told()
    trained = train(LENET, replace(PLAIN, epochs=3, keep_epochs="1, 3"), told)
    assert list(told.weights) == [1]  # the last epoch's weights are the result
    shorter = train(LENET, replace(PLAIN, epochs=1))
    for name, tensor in told.weights[1].items():
        assert torch.equal(tensor, shorter.weights[name])
        assert not torch.equal(tensor, trained.weights[name])


def test_a_cancelled_training_stops_after_a_checkpoint() -> None:
    told = Told(cut=2)
    with pytest.raises(TrainingCancelled):
        train(LENET, PLAIN, told)
    assert told.done == 2
    assert list(told.saved) == [2]


def test_checkpoints_when_due() -> None:
    told = Told(every=2)
    train(LENET, PLAIN, told)
    assert list(told.saved) == [2, 4, 6]


def test_a_checkpoint_of_another_training_is_refused() -> None:
    saved = checkpoint_at(LENET, PLAIN, 2)
    with pytest.raises(ValueError, match="another training"):
        train(LENET, replace(PLAIN, seed=1), Told(start=saved))
    with pytest.raises(ValueError, match="no checkpoint"):
        train(LENET, PLAIN, Told(start=saved[:100]))


def test_a_loss_that_runs_away_is_said() -> None:
    with pytest.raises(UserError, match=r"in epoch . of 2: the training ran away\. Lower learning_rate \(now 100\)"):
        train(NORMED, replace(PLAIN, learning_rate=100.0, weight_decay=10.0, momentum=0.99))


def test_a_gradient_near_zero_is_a_warning() -> None:
    # A bias of 1,000 for the only class: the loss is 0, and so is its gradient.
    images, _ = data()
    labels = np.zeros(COUNT, dtype=np.int64)
    weights = dict(build_model(LENET).state_dict())
    head = [name for name in weights if name.endswith("bias")][-1]
    weights[head] = torch.tensor([1000.0, 0.0, 0.0, 0.0])
    recipe = replace(PLAIN, epochs=1, learning_rate=1e-3)
    trained = fit(LENET, images, labels, images, labels, recipe, weights=weights)
    assert trained.record["gradient_norm"] < 1e-6
    assert "updates of this victim carry little" in trained.record["warnings"][0]
    assert train(LENET, PLAIN).record["warnings"] == []


def test_the_arithmetic_of_the_process_is_as_before() -> None:
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    kept = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = True
        train(LENET, replace(PLAIN, epochs=1))
        assert all(flag.allow_tf32 for flag in flags)
        assert not torch.backends.cudnn.benchmark
    finally:
        for flag, value in zip(flags, kept, strict=True):
            flag.allow_tf32 = value


def test_bf16_on_the_cpu_is_near_fp32() -> None:
    exact, half = train(LENET, PLAIN), train(LENET, replace(PLAIN, precision="bf16"))
    assert half.rows[-1].train_loss == pytest.approx(exact.rows[-1].train_loss, rel=0.02)
    assert half.rows[-1].train_loss != exact.rows[-1].train_loss
    assert all(tensor.dtype == torch.float32 for tensor in half.weights.values())


@pytest.mark.parametrize(
    ("change", "spec", "count", "steps"),
    [
        ({}, LENET, 22, 3),
        ({}, LENET, 24, 3),
        ({}, LENET, 25, 4),  # the last step has one image
        ({}, NORMED, 25, 3),  # which BatchNorm cannot do with
        ({"defence": "dp-sgd"}, LENET, 23, 2),
        ({"batch_size": 1}, NORMED, 5, 5),
    ],
)
def test_steps_of_an_epoch(change: dict[str, object], spec: ModelSpec, count: int, steps: int) -> None:
    assert steps_per_epoch(replace(PLAIN, **change), spec, count) == steps  # type: ignore[arg-type]


def test_images_that_do_not_fit_the_model() -> None:
    images, labels = data()
    with pytest.raises(UserError, match=r"8-bit of shape \(22, 8, 8, 3\)"):
        fit(LENET, images.astype(float), labels, images, labels, PLAIN)
    with pytest.raises(UserError, match="from 0 to 3"):
        fit(LENET, images, labels + 4, images, labels, PLAIN)


def test_it_learns() -> None:
    # Four colours with noise.
    draw = np.random.default_rng(3)
    labels = np.arange(64) % 4
    colours = np.array([[220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 200]])
    images = (colours[labels][:, None, None] + draw.integers(-40, 36, (64, 8, 8, 3))).astype(np.uint8)
    recipe = Recipe(epochs=8, batch_size=16, learning_rate=0.02, schedule="cosine", defence="prune")
    spec = replace(LENET, architecture="mlp", arguments={"hidden": [32], "activation": "relu"})
    trained = fit(spec, images, labels, images, labels, recipe)
    assert trained.rows[-1].train_loss < trained.rows[0].train_loss / 2
    assert trained.rows[-1].held_out_accuracy > 0.95
    assert trained.rows[-1].train_accuracy > 0.9


def test_no_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("core.models.training.stepper.PlainStepper.step", none_left)
    with pytest.raises(UserError, match=r"does not fit into the memory of cpu; lower batch_size \(now 8\)"):
        train(LENET, PLAIN)


def test_arrays_that_must_not_be_written() -> None:
    images, labels = data()
    whole = train(LENET, PLAIN)
    turned = np.asfortranarray(images)
    for array in (turned, labels):
        array.flags.writeable = False
    again = fit(LENET, turned, labels, turned[:5], labels[:5], PLAIN)
    assert all(torch.equal(again.weights[name], whole.weights[name]) for name in whole.weights)
