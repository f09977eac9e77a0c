"""What is said before a hopeless run, and that nothing is said of a sound one."""

from dataclasses import replace

import pytest

from core.images.load import load_images
from core.jobs.compose import AttackRequest, demo_request, preset_model
from core.jobs.outlook import is_smooth, outlook
from core.leakage.threat import ChosenDefence, ThreatModel
from core.models.presets import PRESETS
from core.models.spec import ModelSpec


def request(model: str = "lenet", attack: str = "inverting-gradients", count: int = 8, **threat) -> AttackRequest:
    spec, weights = preset_model(model)
    images = tuple(load_images("photos", spec=spec, limit=count))
    return AttackRequest(spec, model, weights, "photos", images, attack, threat=ThreatModel(**threat))


def test_the_demo_has_nothing_against_it():
    assert outlook(demo_request()) == ()


def test_more_unknowns_than_numbers():
    # LeNet at 32 px, 10 classes: 912 + 2 · 3612 + 7690 = 15,826 numbers; an image has 3,072.
    (sentence,) = outlook(request(batch_size=8, count=16))
    assert "15,826" in sentence
    assert "24,576" in sentence
    assert outlook(request(batch_size=4)) == ()  # 12,288


@pytest.mark.parametrize("attack", ["dlg", "idlg", "dlg-paper"])
def test_quasi_newton_on_a_kinked_model(attack):
    assert any("smooth activations" in s for s in outlook(request("convnet-narrow", attack)))
    assert not any("smooth activations" in s for s in outlook(request("lenet", attack)))
    assert not any("smooth activations" in s for s in outlook(request("convnet-narrow")))


def test_smooth_models_are_those_without_relu_and_max_pooling():
    assert is_smooth(PRESETS["mlp"])
    assert not is_smooth(replace(PRESETS["mlp"], arguments={"hidden": [8], "activation": "relu"}))
    assert is_smooth(ModelSpec("vit_b_16", 10))
    assert not is_smooth(ModelSpec("resnet18", 10))


def test_many_local_steps_blur_the_gradient():
    threat = {"update": "weights", "batch_size": 4, "local_batch": 2, "local_epochs": 2}
    assert any("4 local steps" in s for s in outlook(request("convnet-narrow", **threat)))
    assert outlook(request("convnet-narrow", **{**threat, "local_epochs": 1})) == ()


def test_an_untold_attacker_and_a_lonely_update():
    told = request(defences=(ChosenDefence("prune", {}),))
    assert outlook(told) == ()
    untold = replace(told, threat=replace(told.threat, adaptive=False))
    assert any("not told" in s for s in outlook(untold))
    assert any("no mismatched control" in s for s in outlook(request(count=1)))
