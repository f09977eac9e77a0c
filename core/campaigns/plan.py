"""A campaign in words: which victims, trained how, on what, attacked how. Imports no torch and no database.

The grid is a product in a fixed order: data, then victim, then recipe, then epoch, then threat, then attack; the last
changes fastest. A victim that is not trained (a preset, or a model of the store) meets no recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from core.images.dataset import TEST, TRAIN, DataChoice
from core.leakage.threat import ChosenDefence, ThreatModel
from core.models.training.recipe import Recipe

ASK_ABOVE = 500  # settings: a larger grid is launched only after a second yes


@dataclass(frozen=True)
class TrainPart:
    """How much of the train part the victims learn from."""

    count: int | None = None  # images in all; None: every one
    per_class: int | None = None  # images of each class


@dataclass(frozen=True)
class Originals:
    """Which images are attacked. With names, the other three do not count."""

    part: str = TEST  # test: held out; train: what the victim has learned from
    count: int | None = None
    per_class: int | None = None
    names: tuple[str, ...] = ()  # a fixed list, in this order


@dataclass(frozen=True)
class Data:
    """A data set, the form in which victims take it, and what of it is trained on and attacked."""

    name: str
    dataset: str  # as core.images.datasets.open_dataset takes it
    size: int | None = None  # px, height and width; None, here and below: the data set's usual form
    channels: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()  # only these; empty: every class
    seed: int = 0  # of both draws
    held_out: float = 0.2  # share of each class that is the test part where the publisher makes no split
    split_seed: int = 0  # of that split, for what is trained on and what is attacked alike
    train: TrainPart = field(default_factory=TrainPart)
    originals: Originals = field(default_factory=Originals)

    @property
    def train_choice(self) -> DataChoice:
        """What the victims learn from."""
        return self._choice(part=TRAIN, count=self.train.count, per_class=self.train.per_class)

    @property
    def originals_choice(self) -> DataChoice:
        """What is attacked."""
        some = self.originals
        return self._choice(part=some.part, count=some.count, per_class=some.per_class, names=some.names)

    def _choice(self, **part: Any) -> DataChoice:
        return DataChoice(
            self.dataset,
            classes=self.classes,
            seed=self.seed,
            held_out=self.held_out,
            split_seed=self.split_seed,
            **part,
        )


@dataclass(frozen=True)
class Victim:
    """An architecture to train; or a preset, or a model of the store by its number, attacked as it is."""

    name: str
    architecture: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    init_seed: int = 0
    preset: str = ""
    model: int | None = None

    @property
    def trained(self) -> bool:
        """True where the recipes say how it comes about."""
        return not self.preset and self.model is None


@dataclass(frozen=True)
class Training:
    """A named recipe. `recipe` None: the victim is attacked with its drawn weights, untrained."""

    name: str
    recipe: Recipe | None = field(default_factory=Recipe)
    checkpoints: tuple[int, ...] = ()  # epochs that are attacked too, beside the last


@dataclass(frozen=True)
class Threat:
    """A named threat model."""

    name: str
    model: ThreatModel = field(default_factory=ThreatModel)
    augmented: bool = False  # the attacked image goes through the augmentation that its victim was trained with


USUAL_RECIPES, USUAL_THREATS = (Training("paper"),), (Threat("gradients"),)


@dataclass(frozen=True)
class AttackChoice:
    """A named attack. settings: what differs from the attack's preset."""

    name: str
    attack: str
    settings: dict[str, Any] = field(default_factory=dict)
    controls: int = 2  # updates that are attacked again as controls


@dataclass(frozen=True)
class Skip:
    """Settings to leave out: those whose parts have all of these names; "" matches every one."""

    data: str = ""
    victim: str = ""
    recipe: str = ""
    threat: str = ""
    attack: str = ""


@dataclass(frozen=True)
class Campaign:
    """Everything that is launched as one."""

    name: str
    data: tuple[Data, ...]
    victims: tuple[Victim, ...]
    attacks: tuple[AttackChoice, ...]
    recipes: tuple[Training, ...] = USUAL_RECIPES
    threats: tuple[Threat, ...] = USUAL_THREATS
    skip: tuple[Skip, ...] = ()
    seed: int = 0  # of every attack
    device: str = "auto"


@dataclass(frozen=True)
class Setting:
    """One row of a campaign's table."""

    position: int
    title: str  # the names of its parts, those that the campaign varies
    data: Data
    victim: Victim
    training: Training | None  # None: the victim is a preset or a model of the store
    epoch: int | None  # None: the last
    threat: Threat
    attack: AttackChoice

    @property
    def parts(self) -> dict[str, Any]:
        """Names of the parts within the plan, as campaign_settings keeps them."""
        return {
            "data": self.data.name,
            "victim": self.victim.name,
            "recipe": self.training.name if self.training else None,
            "epoch": self.epoch,
            "threat": self.threat.name,
            "attack": self.attack.name,
        }

    @property
    def recipe(self) -> Recipe | None:
        """How its victim is trained; None where it is not. The epochs that the campaign attacks are kept."""
        if self.training is None or self.training.recipe is None:
            return None
        kept = sorted({*self.training.recipe.kept, *self.training.checkpoints} - {self.training.recipe.epochs})
        return replace(self.training.recipe, keep_epochs=",".join(str(epoch) for epoch in kept))

    @property
    def threat_model(self) -> ThreatModel:
        """The threat model with the training's augmentation in front of its defences, where it is wanted.

        The data's size must be known: the crop is padded by an eighth of it.
        """
        recipe = self.training.recipe if self.training else None
        if not self.threat.augmented or recipe is None:
            return self.threat.model
        return replace(self.threat.model, defences=(*augmentation(recipe, self.data), *self.threat.model.defences))


def augmentation(recipe: Recipe, data: Data) -> tuple[ChosenDefence, ...]:
    """A training's augmentation as defences on the input: crop and flip first, then the policies."""
    found = []
    if recipe.augment == "crop+flip":
        found.append(ChosenDefence("crop-flip", {"padding": (data.size or 32) // 8, "flip": True}))
    if recipe.policies:
        found.append(ChosenDefence("ats", {"policy": recipe.policies}))
    return tuple(found)
