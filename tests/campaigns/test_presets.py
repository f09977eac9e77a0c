"""The presets say what REFERENCE.md says of the study (arXiv 2309.13038 and its code)."""

from dataclasses import asdict

import pytest

from core.attacks import configure
from core.campaigns.grid import expand
from core.campaigns.plan import Campaign
from core.campaigns.presets import PRESETS
from core.campaigns.resolve import resolve, spec_of
from core.campaigns.size import size_of
from core.errors import UserError
from core.registry import look_up
from core.settings import load_settings


def campaign(name: str) -> Campaign:
    return PRESETS[name].campaign


def test_the_paper_s_study_is_2_victims_in_7_ways():
    settings = expand(campaign("paper"))
    assert len(settings) == 14
    assert {one.victim.architecture for one in settings} == {"resnet20-4", "convnet"}
    # "no augmentation, crop+flip, and on top of crop+flip: ATS 3-1-7, ATS 43-18-18, both, prune 70 %, Gaussian 1e-3"
    recipes = [one.recipe for one in settings[:7]]
    assert [(r.augment, r.policies, r.defence) for r in recipes if r] == [
        ("none", "", "none"),
        ("crop+flip", "", "none"),
        ("crop+flip", "3-1-7", "none"),
        ("crop+flip", "43-18-18", "none"),
        ("crop+flip", "3-1-7+43-18-18", "none"),
        ("crop+flip", "", "prune"),
        ("crop+flip", "", "gaussian"),
    ]
    assert all(r and (r.epochs, r.batch_size, r.learning_rate, r.momentum) == (200, 64, 0.1, 0.9) for r in recipes)
    (data,) = campaign("paper").data
    assert (data.dataset, data.size, data.originals.part, data.originals.per_class) == ("cifar100", 32, "test", 6)


def test_the_paper_s_attack_sees_the_augmented_image_and_a_clean_gradient():
    for one in expand(campaign("paper")):
        names = [chosen.name for chosen in one.threat_model.defences]
        recipe = one.recipe
        assert recipe is not None
        expected = (["crop-flip"] if recipe.augment != "none" else []) + (["ats"] if recipe.policies else [])
        assert names == expected  # "act during victim training only; the gradient that is attacked is clean"
        if names:
            assert one.threat_model.defences[0].settings["padding"] == 4  # of 32 pixels, as in the paper's code
        config = asdict(configure(one.attack.attack, one.attack.settings))
        assert (config["steps"], config["total_variation"], config["restarts"], config["lr"]) == (8000, 1e-4, 1, 0.1)


def test_the_five_data_sets_have_the_paper_s_sizes_and_each_its_attack():
    found = {}
    for one in expand(campaign("five")):
        config = asdict(configure(one.attack.attack, one.attack.settings))
        found.setdefault(one.data.dataset, set()).add(
            (one.data.size, config["steps"], config["total_variation"], config["restarts"])
        )
    assert found == {
        "cifar100": {(32, 8000, 1e-4, 1)},
        "caltech101": {(64, 12_000, 1e-2, 1)},
        "imagenette": {(112, 12_000, 1e-2, 1)},
        "celeba": {(64, 12_000, 1e-1, 3)},
        "stanford-dogs": {(64, 12_000, 1e-2, 1)},
    }
    assert len(expand(campaign("five"))) == 10


@pytest.mark.parametrize("name", ["paper", "five"])
def test_their_data_sets_are_known_by_these_names(name: str):
    from core.images.datasets import DATASETS

    for data in campaign(name).data:
        assert look_up(DATASETS, data.dataset, "data set")


def test_a_missing_data_set_is_one_sentence_that_names_it(home):
    with pytest.raises(UserError, match=r"CIFAR-100 is not on this machine.*data set 'CIFAR-100' of the campaign"):
        resolve(campaign("paper"), load_settings())


def test_the_mini_study_needs_only_what_comes_with_semsight(home):
    settings = load_settings()
    plan = campaign("mini")
    found = resolve(plan, settings)
    (photos,) = found.values()
    assert (photos.train_images, photos.originals, len(photos.classes)) == (24, 8, 4)  # a quarter of 32 is held out
    size = size_of(plan, found)
    assert (size.settings, size.trainings, size.reconstructions) == (12, 6, 96)
    # each setting: 2 updates twice; the noisy half once more as the easy case
    assert size.controls == 6 * 4 + 6 * 6
    kinds = {one.recipe.defence for one in expand(plan) if one.recipe}
    assert kinds == {"none", "prune"}  # a defence in training …
    assert any(one.threat_model.defences for one in expand(plan))  # … and one on the update
    spec = spec_of(plan.victims[1], photos)
    assert spec is not None
    assert (spec.architecture, spec.num_classes, spec.height, spec.class_names) == ("lenet", 4, 32, photos.classes)


def test_the_cut_is_two_settings_of_four_originals(home):
    found = resolve(campaign("mini-cut"), load_settings())
    size = size_of(campaign("mini-cut"), found)
    assert (size.settings, size.trainings, size.reconstructions) == (2, 2, 8)
