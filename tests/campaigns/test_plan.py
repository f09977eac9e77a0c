"""The grid: its order, its size before it is made, what is left out, what is attacked of a training."""

from dataclasses import replace

import pytest

from core.campaigns.grid import count, expand
from core.campaigns.plan import AttackChoice, Campaign, Data, Setting, Skip, Threat, Training, Victim
from core.errors import UserError
from core.leakage.threat import ChosenDefence, ThreatModel
from core.models.training.recipe import Recipe

TRAINED, PRESET = Victim("a", "lenet"), Victim("p", preset="lenet")
DLG, IDLG = AttackChoice("dlg", "dlg"), AttackChoice("idlg", "idlg")


def plan(**changes: object) -> Campaign:
    values: dict = {
        "name": "c",
        "data": (Data("photos", "photos"),),
        "victims": (TRAINED,),
        "attacks": (DLG,),
        **changes,
    }
    return Campaign(**values)


def test_the_last_part_changes_fastest_and_a_preset_meets_no_recipe():
    campaign = plan(
        victims=(TRAINED, PRESET),
        recipes=(Training("r", checkpoints=(5, 1)), Training("u", None)),
        attacks=(DLG, IDLG),
    )
    found = [(s.victim.name, s.parts["recipe"], s.epoch, s.attack.name) for s in expand(campaign)]
    ways = [("a", "r", 1), ("a", "r", 5), ("a", "r", None), ("a", "u", None), ("p", None, None)]  # written by hand
    assert found == [(*way, attack) for way in ways for attack in ("dlg", "idlg")]
    assert [s.position for s in expand(campaign)] == list(range(10))
    assert count(campaign) == 10


def test_titles_name_what_varies():
    campaign = plan(victims=(TRAINED, PRESET), recipes=(Training("r", checkpoints=(5,)),), attacks=(DLG, IDLG))
    titles = [one.title for one in expand(campaign)]
    assert titles[:4] == ["a · r · epoch 5 · dlg", "a · r · epoch 5 · idlg", "a · r · dlg", "a · r · idlg"]
    assert titles[4] == "p · dlg"
    assert len(set(titles)) == 6


def test_what_is_skipped_is_named_by_all_its_parts():
    campaign = plan(victims=(TRAINED, PRESET), attacks=(DLG, IDLG), skip=(Skip(victim="p", attack="dlg"),))
    assert [(s.victim.name, s.attack.name) for s in expand(campaign)] == [("a", "dlg"), ("a", "idlg"), ("p", "idlg")]
    with pytest.raises(UserError, match="leaves out every one"):
        expand(plan(skip=(Skip(victim="a"),)))


def million(**changes: object) -> Campaign:
    victims = tuple(Victim(f"v{n}", "lenet", init_seed=n) for n in range(1000))
    attacks = tuple(AttackChoice(f"a{n}", "dlg") for n in range(1000))
    return plan(victims=victims, attacks=attacks, **changes)


def test_a_grid_of_a_million_is_counted_without_being_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("core.campaigns.grid.Setting", None)  # none can be made
    assert count(million()) == 1_000_000
    skip = (Skip(victim="v7"), Skip(victim="v8", attack="a1"), Skip(attack="a2"), Skip(victim="v8", attack="a2"))
    assert count(million(skip=skip)) == 1_000_000 - 1000 - 1 - 999
    with pytest.raises(UserError, match="3,000,000 settings, more than the 2,000,000"):
        count(million(threats=(Threat("a"), Threat("b"), Threat("c"))))


def test_the_count_is_that_of_the_settings_whatever_is_skipped():
    campaign = plan(
        victims=(TRAINED, PRESET),
        recipes=(Training("r", checkpoints=(5, 1)), Training("u", None)),
        threats=(Threat("s"), Threat("t")),
        attacks=(DLG, IDLG),
    )
    for skip in (
        (),
        (Skip(recipe="r"),),
        (Skip(victim="a", threat="s"), Skip(attack="idlg")),
        (Skip(threat="s", attack="dlg"), Skip(threat="s", attack="dlg", victim="p"), Skip(data="photos", threat="t")),
    ):
        some = replace(campaign, skip=skip)
        assert count(some) == len(expand(some))
        for one in expand(some):
            assert not any(all(getattr(each, name) in ("", one.parts[name]) for name in vars(each)) for each in skip)


def setting(recipe: Recipe | None, threat: Threat, **data: object) -> Setting:
    return Setting(0, "", Data("d", "photos", **data), TRAINED, Training("r", recipe), None, threat, DLG)


def test_as_trained_puts_the_training_s_augmentation_before_the_defences():
    clip = ChosenDefence("clip", {"norm": 0.5})
    threat = Threat("t", ThreatModel(defences=(clip,)), augmented=True)
    found = setting(Recipe(policies="3-1-7"), threat, size=64).threat_model.defences
    assert found == (
        ChosenDefence("crop-flip", {"padding": 8, "flip": True}),  # an eighth of 64
        ChosenDefence("ats", {"policy": "3-1-7"}),
        clip,
    )
    assert setting(Recipe(augment="none"), threat).threat_model.defences == (clip,)
    assert setting(None, threat).threat_model.defences == (clip,)
    plain = Threat("t", threat.model)
    assert setting(Recipe(), plain).threat_model.defences == (clip,)


def test_checkpoints_are_kept_by_the_training():
    one = Setting(
        0, "", Data("d", "photos"), TRAINED, Training("r", Recipe(keep_epochs="7"), (9, 3)), 3, Threat("t"), DLG
    )
    assert one.recipe is not None
    assert one.recipe.kept == (3, 7, 9)


def test_train_and_originals_share_the_split():
    data = Data("d", "photos", seed=3, held_out=0.25, classes=("cat",))
    train, attacked = data.train_choice, data.originals_choice
    assert (train.seed, train.held_out, train.classes) == (attacked.seed, attacked.held_out, attacked.classes)
    assert (train.part, attacked.part) == ("train", "test")


def test_both_choices_of_a_campaign_share_the_split() -> None:
    data = Data("photos", "photos", seed=5, split_seed=3, held_out=0.3)
    for choice in (data.train_choice, data.originals_choice):
        assert (choice.seed, choice.split_seed, choice.held_out) == (5, 3, 0.3)
