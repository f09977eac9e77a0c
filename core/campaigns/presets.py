"""Campaigns that are there from the start. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from core.campaigns.plan import AttackChoice, Campaign, Data, Originals, Skip, Threat, Training, Victim
from core.leakage.defences.text import read_defence
from core.leakage.threat import ThreatModel
from core.models.training.recipe import PAPER_RECIPES, Recipe
from core.registry import look_up, register


@dataclass(frozen=True)
class Preset:
    """A campaign with what people are told of it."""

    campaign: Campaign
    title: str
    summary: str


PRESETS: dict[str, Preset] = {}
PAPER_VICTIMS = (Victim("ResNet20-4", "resnet20-4", {"base": 64}), Victim("ConvNet", "convnet", {"base": 64}))
SMALL_VICTIMS = (Victim("narrow ConvNet", "convnet", {"base": 8}), Victim("LeNet", "lenet"))
SHORT = {"steps": 150, "total_variation": 0.05}
AUGMENTED = Threat("as trained", augmented=True)


def preset_campaign(name: str) -> Preset:
    """The preset called `name`; UserError with its nearest neighbours for none."""
    return look_up(PRESETS, name, "campaign")


def _paper() -> Preset:
    campaign = Campaign(
        name="The paper's CIFAR-100 study",
        data=(Data("CIFAR-100", "cifar100", size=32, originals=Originals(per_class=6)),),
        victims=PAPER_VICTIMS,
        recipes=tuple(Training(name, recipe) for name, recipe in PAPER_RECIPES.items()),
        threats=(AUGMENTED,),
        attacks=(AttackChoice("Inverting Gradients", "inverting-gradients-paper"),),
    )
    return Preset(
        campaign,
        "The paper's CIFAR-100 study",
        "ResNet20-4 and ConvNet, each trained in 7 ways for 200 epochs: 14 settings, 600 originals of the test part. "
        "As in the paper, the attacked image goes through the augmentation of the training. Days on one GPU.",
    )


def _five() -> Preset:
    sizes = (
        ("CIFAR-100", "cifar100", 32),
        ("Caltech-101", "caltech101", 64),
        ("Imagenette", "imagenette", 112),
        ("CelebA", "celeba", 64),
        ("Stanford Dogs", "stanford-dogs", 64),
    )
    attacks = (
        AttackChoice("32 px", "inverting-gradients-paper"),
        AttackChoice("larger", "inverting-gradients-large"),
        AttackChoice("faces", "inverting-gradients-large", {"total_variation": 0.1, "restarts": 3}),
    )
    wanted = {"CIFAR-100": "32 px", "CelebA": "faces"}
    skip = tuple(
        Skip(data=title, attack=attack.name)
        for title, _, _ in sizes
        for attack in attacks
        if attack.name != wanted.get(title, "larger")
    )
    campaign = Campaign(
        name="The five data sets",
        data=tuple(Data(title, dataset, size=size, originals=Originals(count=600)) for title, dataset, size in sizes),
        victims=PAPER_VICTIMS,
        recipes=(Training("crop+flip", Recipe()),),
        threats=(AUGMENTED,),
        attacks=attacks,
        skip=skip,
    )
    return Preset(
        campaign,
        "The five data sets",
        "CIFAR-100, Caltech-101, Imagenette, CelebA (identity) and Stanford Dogs at 32, 64, 112, 64 and 64 pixels, "
        "ResNet20-4 and ConvNet with crop and flip, 600 originals of each test part; 12,000 steps above 32 pixels. "
        "Weeks on one GPU.",
    )


def _small_recipe(epochs: int, **changes: object) -> Recipe:
    base = {"epochs": epochs, "batch_size": 8, "learning_rate": 0.02, "schedule": "cosine", "augment": "none"}
    return Recipe.from_dict({**base, **changes})


def _mini() -> Preset:
    noisy = ThreatModel(defences=(read_defence("gaussian:std=0.01"),))
    campaign = Campaign(
        name="Mini study",
        data=(Data("photos", "photos", size=32, held_out=0.25, originals=Originals(count=8)),),
        victims=SMALL_VICTIMS,
        recipes=(
            Training("no augmentation", _small_recipe(20)),
            Training("crop+flip", _small_recipe(20, augment="crop+flip")),
            Training("prune 70 %", _small_recipe(20, augment="crop+flip", defence="prune", prune=0.7)),
        ),
        threats=(Threat("gradients"), Threat("noise", noisy)),
        attacks=(AttackChoice("Inverting Gradients", "inverting-gradients", {"steps": 400, "total_variation": 0.05}),),
    )
    return Preset(
        campaign,
        "Mini study",
        "Two small victims trained in 3 ways on the photographs that come with SemSight, attacked with and without "
        "noise on the update: 12 settings of 8 originals, every stage real. Under 15 minutes on 2 CPU cores.",
    )


def _mini_cut() -> Preset:
    campaign = Campaign(
        name="Mini study, cut short",
        data=(Data("photos", "photos", size=32, held_out=0.25, originals=Originals(count=4)),),
        victims=SMALL_VICTIMS,
        recipes=(Training("no augmentation", _small_recipe(8)),),
        attacks=(AttackChoice("Inverting Gradients", "inverting-gradients", SHORT, controls=1),),
    )
    return Preset(
        campaign,
        "Mini study, cut short",
        "Two small victims, one recipe, 4 originals: every stage once, in at most 3 minutes on 2 CPU cores.",
    )


for _name, _make in (("paper", _paper), ("five", _five), ("mini", _mini), ("mini-cut", _mini_cut)):
    register(PRESETS, _name, _make())
