"""A plan against the data sets of this machine: image form, classes, how many images. No torch, no picture decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from core.campaigns.plan import Campaign, Data, Setting, Victim
from core.errors import UserError
from core.models.presets import PRESETS
from core.models.spec import ModelSpec
from core.names import safe_text
from core.settings import Settings


@dataclass(frozen=True)
class Resolved:
    """A data set of the plan, opened: `data` with its form filled in, and what it holds."""

    data: Data
    classes: tuple[str, ...]  # those that a victim tells apart
    train_images: int  # that a victim learns from
    originals: int  # that are attacked in each setting
    entries: int  # images of the data set in all


def resolve(campaign: Campaign, settings: Settings) -> dict[str, Resolved]:
    """Every data set of the plan by its name in the plan. Raises UserError for one that is missing or too small."""
    return {data.name: _resolved(data, settings, campaign) for data in campaign.data}


def resolved_setting(setting: Setting, found: Mapping[str, Resolved]) -> Setting:
    """The setting with the form of its data filled in."""
    return replace(setting, data=found[setting.data.name].data)


def spec_of(victim: Victim, one: Resolved) -> ModelSpec | None:
    """What is trained or drawn for this data; a trained preset as it is. None for a model of the store."""
    if victim.model is not None:
        return None
    shape = _shape(one)
    if victim.preset:
        spec = PRESETS[victim.preset]
        return spec if spec.weights_sha256 else replace(spec, **shape)
    origin = f"{victim.architecture}, drawn from seed {victim.init_seed}"
    return ModelSpec(
        victim.architecture, arguments=dict(victim.arguments), init_seed=victim.init_seed, origin=origin, **shape
    )


def _shape(one: Resolved) -> dict[str, Any]:
    data = one.data
    return {
        "num_classes": len(one.classes),
        "class_names": one.classes,
        "channels": data.channels,
        "height": data.size,
        "width": data.size,
        "mean": data.mean,
        "std": data.std,
    }


def _resolved(data: Data, settings: Settings, campaign: Campaign) -> Resolved:
    from core.images.datasets import input_of, open_dataset
    from core.images.sampling import choose, class_places

    try:
        dataset = open_dataset(data.dataset, settings)
        usual = input_of(data.dataset, settings)
        trains = any(v.trained for v in campaign.victims) and any(t.recipe for t in campaign.recipes)
        classes = tuple(dataset.classes[place] for place in class_places(dataset, data.classes))
        train_images = len(choose(dataset, data.train_choice)) if trains else 0
        originals = len(choose(dataset, data.originals_choice))
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')} (data set {safe_text(data.name)!r} of the campaign).") from None
    channels = data.channels or usual.channels
    mean, std = data.mean or usual.mean, data.std or usual.std
    if len(mean) != channels:
        if data.mean:
            raise UserError(
                f"Data set {safe_text(data.name)!r} has {channels} channels and {len(mean)} numbers as mean; "
                "give one a channel."
            )
        mean, std = _spread(mean, channels), _spread(std, channels)
    filled = replace(data, size=data.size or usual.size, channels=channels, mean=mean, std=std)
    return Resolved(filled, classes, train_images, originals, len(dataset.entries))


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """One number a channel where the data set's usual form has another number of channels: their mean."""
    return (sum(values) / len(values),) * channels
