"""Label recovery: each rule against values worked out by hand, against its own theory, and on real updates."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.attacks import ATTACKS
from core.attacks.label_rules import LABEL_RULES, check_label_rule, label_accuracy
from core.attacks.labels import from_bias, from_minima, from_signs, made_up, recover_labels, unreadable
from core.errors import UserError
from core.leakage.threat import ThreatModel
from core.models.build import build_model
from core.models.spec import ModelSpec
from tests.attacks.conftest import LENET

RELU = ModelSpec("mlp", 10, height=8, width=8, arguments={"hidden": [32], "activation": "relu"})
RULES = [name for name in LABEL_RULES if name != "auto"]


def test_the_signs_of_row_sums_by_hand() -> None:
    # sums −3, 1, −1, 2: classes 0 and 2 are proven, the third of three starts again with the most negative
    gradient = torch.tensor([[[-4.0, 1.0], [0.5, 0.5], [1.0, -2.0], [2.0, 0.0]]])
    assert from_signs(gradient, 3).tolist() == [[0, 0, 2]]
    assert from_signs(gradient, 1).tolist() == [[0]]
    assert from_signs(gradient.abs(), 2).tolist() == [[1, 1]]  # none negative: the lowest, sum 1


def test_the_row_minima_by_hand() -> None:
    gradient = torch.tensor([[[-4.0, 9.0], [-1.0, 0.5], [1.0, -2.0]]])  # minima −4, −1, −2
    assert from_minima(gradient, 2).tolist() == [[0, 2]]
    assert from_minima(gradient, 4).tolist() == [[0, 0, 1, 2]]  # more images than classes: from the start again


def test_the_expected_probability_tells_a_likely_class_from_an_absent_one() -> None:
    # labels 0, 1, 1, 2 under mean probabilities .6, .3, .1: gradient = probability − share
    expected = torch.tensor([0.6, 0.3, 0.1])
    gradient = (expected - torch.tensor([0.25, 0.5, 0.25]))[None]  # .35, −.2, −.15
    # by sign: 1 (left .05), 2 (left .1), then the lowest left, 1 (.3), and 2: class 0 looks absent
    assert from_bias(gradient, 4).tolist() == [[1, 1, 2, 2]]
    # after 1 and 2, which are proven, .35 − .6, .05 − .3 and .1 − .1 are left: 0 and 1
    assert from_bias(gradient, 4, expected).tolist() == [[0, 1, 1, 2]]


def test_a_proven_class_comes_before_a_wrong_expectation() -> None:
    # the true probabilities of one image of class 0 are .9, .1; the made-up pictures say .1, .9
    gradient = torch.tensor([[-0.1, 0.1]])
    assert from_bias(gradient, 1, torch.tensor([0.1, 0.9])).tolist() == [[0]]


def _constructed(seed: int, batch: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bias gradient (1, K) of `batch` images with random probabilities, their mean (K,) and labels (1, B)."""
    source = np.random.default_rng(seed)
    probabilities = source.dirichlet(np.ones(classes), batch)
    labels = np.sort(source.integers(0, classes, batch))
    gradient = (probabilities - np.eye(classes)[labels]).mean(0)
    return torch.tensor(gradient)[None], torch.tensor(probabilities.mean(0)), torch.tensor(labels)[None]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 128), st.integers(2, 30))
def test_bias_rules_on_constructed_gradients(seed: int, batch: int, classes: int) -> None:
    gradient, expected, labels = _constructed(seed, batch, classes)
    assert torch.equal(from_bias(gradient, batch, expected), labels)  # the true mean probability: always exact
    counts = torch.bincount(from_bias(gradient, batch)[0], minlength=classes)
    true = torch.bincount(labels[0], minlength=classes)
    # g = p − n/B with p ≥ 0 proves n ≥ −gB; with no expectation at all these are found
    proven = (-gradient[0] * batch - 1e-4).ceil().clamp_min(0)
    assert bool((proven <= true).all())
    assert bool((proven <= counts).all())
    if batch == 1:
        assert torch.equal(from_bias(gradient, 1), labels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 16), st.sampled_from([from_signs, from_minima]))
def test_rows_in_another_order_give_the_same_classes(seed: int, batch: int, rule) -> None:  # type: ignore[no-untyped-def]
    source = torch.Generator().manual_seed(seed)
    gradient = torch.randn(2, 7, 5, generator=source, dtype=torch.float64)
    order = torch.randperm(7, generator=source)
    found = order[rule(gradient[:, order], batch)]
    assert torch.equal(found.sort(1).values, rule(gradient, batch))


@pytest.mark.parametrize("rule", RULES)
def test_one_image_is_always_right(make, rule: str) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(RELU, 20)  # ReLU features are not negative
    assert torch.equal(recover_labels(observation, rule), labels)


# The least mean share of labels, over 20 updates of 8 images in 10 classes. A uniform guess shares about half.
LEAST = {"idlg": 0.7, "bias-sign": 0.95, "yin": 0.7, "wainakh": 0.75, "wainakh-star": 0.9, "bias-corrected": 1.0}


@pytest.mark.parametrize("rule", RULES)
def test_batches_with_repeated_labels(make, rule: str) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(RELU, 20, ThreatModel(batch_size=8))
    assert any(len(set(row)) < 8 for row in labels.tolist())
    found = recover_labels(observation, rule)
    assert torch.equal(found, found.sort(1).values)
    assert label_accuracy(found.numpy(), labels.numpy()).mean >= LEAST[rule]
    guess = np.random.default_rng(0).integers(0, 10, labels.shape)
    assert label_accuracy(guess, labels.numpy()).mean < 0.6


def test_nearly_all_labels_of_a_batch_of_128_are_recovered(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(RELU, 4, ThreatModel(batch_size=128))

    def share(rule: str) -> float:
        return label_accuracy(recover_labels(observation, rule).numpy(), labels.numpy()).mean

    assert share("auto") > 0.95
    assert share("auto") > share("bias-sign") > share("yin")  # which knows no repeats


def test_without_a_bias_the_rows_are_read(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(RELU, 10, ThreatModel(batch_size=4))
    bare = {name: tensor for name, tensor in observation.gradients.items() if name != "head.bias"}
    assert len(bare) < len(observation.gradients)
    observation = replace(observation, gradients=bare)
    assert torch.equal(recover_labels(observation), recover_labels(observation, "wainakh-star"))
    assert label_accuracy(recover_labels(observation).numpy(), labels.numpy()).mean > 0.9
    with pytest.raises(UserError, match="bias-corrected needs a last layer with a bias"):
        recover_labels(observation, "bias-corrected")


def test_made_up_pictures_give_the_models_mean_probability(make) -> None:  # type: ignore[no-untyped-def]
    observation, pixels, _ = make(RELU, 30)
    expected, features = made_up(observation)
    model = build_model(RELU)
    with torch.no_grad():
        real = torch.from_numpy(pixels[:, 0]).movedim(-1, 1).float() / 255
        hidden = model.body(real.flatten(1))
        assert torch.allclose(expected[0], model(real).softmax(1).mean(0), atol=0.02)
    assert features[0].item() == pytest.approx(float(hidden.sum(1).mean()), rel=0.4)
    assert expected[0].sum().item() == pytest.approx(1.0, abs=1e-5)
    assert expected.shape == (30, 10)
    assert bool((expected == expected[0]).all())  # one model was sent


def test_a_fedavg_client_moves_the_expected_probability_on_its_way(make) -> None:  # type: ignore[no-untyped-def]
    threat = ThreatModel(batch_size=8, update="weights", local_epochs=2, local_batch=2, local_lr=0.05)
    observation, _, labels = make(RELU, 6, threat)
    expected, _ = made_up(observation)
    assert observation.local is not None
    way = 0.05 * observation.local.steps
    returned = {name: observation.weights[name] - way * g[3] for name, g in observation.gradients.items()}
    at_end, _ = made_up(replace(observation, weights=returned, local=None, update="gradients"))
    at_start, _ = made_up(replace(observation, local=None, update="gradients"))
    assert torch.allclose(expected[3], (at_start[3] + at_end[3]) / 2, atol=1e-6)
    shares = label_accuracy(recover_labels(observation).numpy(), labels.numpy()).mean
    assert shares > 0.85
    assert shares >= label_accuracy(recover_labels(observation, "idlg").numpy(), labels.numpy()).mean


def test_an_update_that_cannot_be_read_is_named_and_harms_no_other(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(RELU, 4)
    broken = {name: tensor.clone() for name, tensor in observation.gradients.items()}
    broken["head.bias"][1] = torch.nan
    broken["head.weight"][2] = broken["head.bias"][2] = 0.0
    observation = replace(observation, gradients=broken)
    assert [why[-10:] for why in unreadable(observation)] == ["", "not finite", "nt is zero", ""]
    for rule in RULES:
        found = recover_labels(observation, rule)
        assert torch.equal(found[[0, 3]], labels[[0, 3]])
        assert found[[1, 2]].tolist() == [[0], [0]]


def test_idlg_says_how_it_found_labels_and_where_it_found_none(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, labels = make(LENET, 2, ThreatModel(labels="inferred"))
    broken = {name: tensor.clone() for name, tensor in observation.gradients.items()}
    broken["head.weight"][1] = broken["head.bias"][1] = 0.0
    config = replace(ATTACKS["idlg"].config, iterations=2, restarts=1, label_rule="wainakh")
    done = ATTACKS["idlg"].reconstruct(replace(observation, gradients=broken), config, seed=0)
    assert done.record["labels"] == "recovered by rule wainakh"
    assert done.labels[0, 0].tolist() == labels[0].tolist()
    assert not done.status[0].startswith("labels")
    assert done.status[1] == "labels not readable: the last layer's gradient is zero"


def test_what_cannot_be_recovered_is_said_in_a_sentence(make) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(RELU)
    with pytest.raises(UserError, match="one class only"):
        recover_labels(replace(observation, spec=replace(RELU, num_classes=1)))
    headless = {name: tensor for name, tensor in observation.gradients.items() if not name.startswith("head")}
    with pytest.raises(UserError, match="no last linear layer with 10 rows"):
        recover_labels(replace(observation, gradients=headless))
    with pytest.raises(UserError, match="wainakh"):
        check_label_rule("wainak")


def test_features_below_zero_cannot_scale_the_rows(make, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    observation, _, _ = make(RELU)
    seen = torch.full((2, 10), 0.1), torch.tensor([3.0, -0.1])
    monkeypatch.setattr("core.attacks.labels.made_up", lambda _: seen)
    with pytest.raises(UserError, match="features sum to 0 or less"):
        recover_labels(observation, "wainakh-star")


def test_accuracy_by_hand() -> None:
    # {1, 1, 3} and {1, 3, 3} share 1 and 3: 2 of 3; the second update has all three in another order
    accuracy = label_accuracy(np.array([[1, 1, 3], [2, 0, 1]]), np.array([[3, 3, 1], [0, 1, 2]]))
    assert accuracy.shares.tolist() == pytest.approx([2 / 3, 1.0])
    assert accuracy.exact.tolist() == [False, True]
    assert accuracy.mean == pytest.approx(5 / 6)
    with pytest.raises(UserError, match="not \\(1, 2\\) with \\(2, 1\\)"):
        label_accuracy(np.zeros((1, 2)), np.zeros((2, 1)))
    with pytest.raises(UserError, match="compares two tables"):
        label_accuracy(np.zeros((0, 2)), np.zeros((0, 2)))


def test_every_rule_says_what_it_is() -> None:
    for name, rule in LABEL_RULES.items():
        assert rule.name == name
        assert all((rule.title, rule.summary, rule.source, rule.needs))


def test_the_docs_name_every_rule_and_every_setting() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    page = (docs / "labels.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | {rule.summary} |" in page for name, rule in LABEL_RULES.items())
    for name in ("analytic", "imprint"):
        page = (docs / "attacks" / f"{name}.md").read_text(encoding="utf-8")
        assert all(f"| `{field.name}` |" in page for field in fields(ATTACKS[name].config))
