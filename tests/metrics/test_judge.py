"""The independent classifier: which one is asked, what it answers, and when there is none."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as F

from core.errors import UserError
from core.images.load import load_images
from core.images.picture import Prepared
from core.metrics.base import Context
from core.metrics.judge import chosen, probability, seen, top1
from core.metrics.registry import METRICS, unavailable, weights_hash
from core.metrics.scoring import score_pairs
from core.models.build import build_model, load_weights
from core.models.judges import find_judges
from core.models.presets import PRESETS
from core.models.spec import ModelSpec
from core.models.training.simple import normalised
from core.settings import Settings
from tests.models.test_judges import SPEC, put_judge

BOTH = ["classifier_probability", "classifier_top1"]


def originals(source: str, count: int) -> list[Prepared]:
    return load_images(source, spec=PRESETS["lenet"], limit=count)


def context_of(items: list[Prepared], **more: object) -> Context:
    return Context(classes=tuple(i.class_name for i in items), names=tuple(i.name for i in items), **more)  # type: ignore[arg-type]


def images(items: list[Prepared]) -> np.ndarray:
    return np.stack([i.original for i in items])


def asked(settings: Settings, context: Context) -> list[str]:
    judges = chosen(settings, context, len(context.classes or ()))
    return [judge.name if judge else "" for judge in judges]


def values(scores: list) -> np.ndarray:
    return np.array([s.value for s in scores], dtype=float)


@pytest.mark.parametrize("source", ["lfw", "photos"])
def test_the_judge_asked_never_saw_the_original(source: str, bare: Settings) -> None:
    items = originals(source, 200)
    judges = {judge.name: judge for judge in find_judges(bare).found}
    names = asked(bare, context_of(items))
    assert set(names) == {f"{source}-even", f"{source}-odd"}
    assert all(item.name not in judges[name].trained_on for item, name in zip(items, names, strict=True))


@pytest.mark.parametrize(("source", "count"), [("lfw", 200), ("photos", 32)])
def test_answers_are_those_of_the_model_called_directly(source: str, count: int, bare: Settings) -> None:
    items = originals(source, count)
    harm = 30 * np.random.default_rng(0).normal(size=images(items).shape)
    damaged = np.clip(np.rint(images(items) + harm), 0, 255).astype(np.uint8)
    found = score_pairs(images(items), damaged, BOTH, bare, context=context_of(items), batch=7)
    judges = {judge.name: judge for judge in find_judges(bare).found}
    models = {name: build_model(judge.spec, load_weights(judge.path)) for name, judge in judges.items()}
    for row, item in enumerate(items):
        unseen = [n for n, j in judges.items() if n.startswith(source) and item.name not in j.trained_on]
        assert len(unseen) == 1
        judge = judges[unseen[0]]
        with torch.no_grad():
            logits = models[judge.name](normalised(judge.spec, damaged[row][None]))[0]
        truth = judge.spec.class_names.index(item.class_name)
        assert found["classifier_probability"][row].value == pytest.approx(float(logits.softmax(0)[truth]), abs=1e-5)
        assert found["classifier_top1"][row].value == float(logits.argmax() == truth)


def test_clean_originals_are_named_as_often_as_the_records_say(bare: Settings) -> None:
    # each half is judged by the other half's judge, so the mean is that of the two held-out accuracies
    items = originals("lfw", 200)
    judges = {judge.name: judge for judge in find_judges(bare).found}
    stated = (judges["lfw-even"].held_out_accuracy + judges["lfw-odd"].held_out_accuracy) / 2  # type: ignore[operator]
    found = score_pairs(images(items), images(items), ["classifier_top1"], bare, context=context_of(items))
    assert values(found["classifier_top1"]).mean() == pytest.approx(stated, abs=0.011)


def test_less_is_named_the_less_is_left(bare: Settings) -> None:
    items = originals("photos", 32)
    noise = np.random.default_rng(0).normal(size=images(items).shape)
    means = []
    for harm in (0, 40, 120, 400):
        damaged = np.clip(np.rint(images(items) + harm * noise), 0, 255).astype(np.uint8)
        found = score_pairs(images(items), damaged, BOTH, bare, context=context_of(items))
        means.append([values(found[name]).mean() for name in BOTH])
    assert (np.diff(means, axis=0) <= 0).all()
    assert means[0][1] > 0.9
    assert max(means[-1]) < 0.1  # noise shows nothing, so not even chance is left


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_to_the_judge_as_torchvision_would_bring_them(channels: int, bare: Settings) -> None:
    spec = replace(SPEC, channels=channels, height=6, width=9, mean=(0.4,) * channels, std=(0.3,) * channels)
    judge = replace(find_judges(bare).found[0], spec=spec)
    x = torch.rand(2, 3, 20, 14, generator=torch.Generator().manual_seed(0))
    peer = F.resize(x, [6, 9], interpolation=F.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
    peer = F.rgb_to_grayscale(peer) if channels == 1 else peer
    peer = F.normalize(peer, list(spec.mean), list(spec.std))
    # torchvision writes ITU-R 601's luma with .2989 and .1140 of .299 and .114
    assert (seen(x.double(), judge) - peer).abs().max() < (1e-3 if channels == 1 else 1e-6)
    same = torch.rand(1, 3, 6, 9, generator=torch.Generator().manual_seed(1))
    if channels == 3:
        assert torch.equal(seen(same, judge), (same - 0.4) / 0.3)


def test_own_judge_is_asked_by_class_name_in_any_case(bare: Settings) -> None:
    put_judge(bare, "pets", trained_on=["rex"])
    put_judge(bare, "pets-b", replace(SPEC, init_seed=1), trained_on=["tom"], held_out_accuracy=0.8)
    context = Context(classes=("Dog", "CAT", "bird", None, "face"), names=("rex", "tom", "tweety", "x", "face-002"))
    assert asked(bare, context) == ["pets-b", "pets", "", "", "lfw-odd"]
    assert asked(bare, replace(context, names=None)) == ["pets-b", "pets-b", "", "", "lfw-odd"]  # the more accurate
    black = np.zeros((5, 8, 8, 3), np.uint8)
    found = score_pairs(black, black, BOTH, bare, context=context)
    for name in BOTH:
        assert [score.value is None for score in found[name]] == [False, False, True, True, False]
        assert all(score.reason for score in found[name] if score.value is None)


def test_bundled_judges_know_their_own_set_only(bare: Settings) -> None:
    context = Context(classes=("cat",), names=("my-cat",))
    assert asked(bare, context) == [""]
    assert "for other images only" in unavailable(METRICS["classifier_top1"], bare, context)
    assert asked(bare, Context(classes=("cat",), names=("cat-3",))) == ["photos-even"]


def test_the_victim_is_no_judge_of_itself(bare: Settings) -> None:
    sha256 = put_judge(bare, "pets")
    context = Context(classes=("dog", "cat"), names=("a", "b"))
    assert unavailable(METRICS["classifier_top1"], bare, context) == ""
    reason = unavailable(METRICS["classifier_top1"], bare, replace(context, victim_sha=sha256))
    assert "the victim itself, which is not independent" in reason


def test_a_judge_is_never_asked_about_what_it_was_trained_on(bare: Settings) -> None:
    put_judge(bare, "pets", trained_on=["rex", "tom"])
    seen_by_all = Context(classes=("dog", "cat"), names=("rex", "tom"))
    assert asked(bare, seen_by_all) == ["", ""]
    black = np.zeros((2, 8, 8, 3), np.uint8)
    for name in BOTH:
        reason = unavailable(METRICS[name], bare, seen_by_all)
        assert reason.startswith("Every judge of 'cat', 'dog' but the victim was trained on these very originals; put")
        scores = score_pairs(black, black, [name], bare, context=seen_by_all)[name]
        assert [(score.value, score.reason) for score in scores] == [(None, reason)] * 2
    # one pair that it did not see is judged, the other stays without a value
    mixed = replace(seen_by_all, names=("rex", "felix"))
    assert asked(bare, mixed) == ["", "pets"]
    scores = score_pairs(black, black, BOTH, bare, context=mixed)
    for name in BOTH:
        assert [score.value is None for score in scores[name]] == [True, False]
        assert scores[name][0].reason == "the metric is not defined for this pair"
    # the other half's judge is the victim, and this half's was trained on the picture
    even = next(judge for judge in find_judges(bare).found if judge.name == "lfw-even")
    face = Context(classes=("face",), names=("face-001",), victim_sha=even.sha256)
    assert asked(bare, face) == [""]
    assert "trained on these very originals" in unavailable(METRICS["classifier_top1"], bare, face)


def test_no_judge_is_a_reason_that_says_what_to_do(bare: Settings) -> None:
    x = torch.zeros(1, 3, 8, 8)
    for context, word in (
        (None, "class by name"),
        (Context(), "class by name"),
        (Context(classes=(None,)), "class by name"),
        (Context(classes=("zebra",)), "No judge knows the classes 'zebra'; put a classifier"),
    ):
        assert word in unavailable(METRICS["classifier_probability"], bare, context)
        if context is not None:
            for compute in (probability, top1):
                with pytest.raises(UserError, match=word):
                    compute(x, x, replace(context, settings=bare))


def test_the_hash_names_the_judges(bare: Settings) -> None:
    before = weights_hash("classifier_top1", bare)
    put_judge(bare, "pets")
    assert weights_hash("classifier_top1", bare) != before
    assert weights_hash("classifier_top1", bare) == weights_hash("classifier_probability", bare)


@pytest.mark.parametrize(
    "change",
    [
        {"spec": replace(SPEC, mean=(0.4,))},
        {"spec": replace(SPEC, class_names=("dog", "cat"))},
        {"trained_on": ["rex"]},
        {"only": ["rex"]},
        {"held_out_accuracy": 0.9},
    ],
)
def test_the_hash_names_what_decides_an_answer(change: dict[str, Any], bare: Settings) -> None:
    put_judge(bare, "pets")
    before = weights_hash("classifier_top1", bare)
    put_judge(bare, "pets", **change)  # the same weights
    assert weights_hash("classifier_top1", bare) != before


def test_without_any_judge(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.judges.BUNDLED", bare.home / "nowhere")
    assert "There is no judge" in unavailable(METRICS["classifier_top1"], bare)
    with pytest.raises(UserError, match="restore assets/judges"):
        weights_hash("classifier_top1", bare)


def test_weights_that_do_not_fit_are_one_sentence(bare: Settings) -> None:
    put_judge(bare, "pets")
    other = ModelSpec("mlp", 2, channels=1, height=4, width=4, arguments={"hidden": [9]}, mean=(0.5,), std=(0.5,))
    put_judge(bare, "other", replace(other, class_names=("a", "b")))
    folder = bare.weights / "judges"
    (folder / "other.safetensors").rename(folder / "pets.safetensors")
    black = np.zeros((1, 8, 8, 3), np.uint8)
    score = score_pairs(black, black, ["classifier_top1"], bare, context=Context(classes=("dog",)))["classifier_top1"]
    assert score[0].reason.startswith("The judge pets cannot be asked: ")


def test_it_is_leakage_and_not_symmetric() -> None:
    for name in BOTH:
        metric = METRICS[name]
        assert not metric.diagnostic
        assert not metric.symmetric
        assert metric.direction == "higher"
        assert "no person" in metric.misses
