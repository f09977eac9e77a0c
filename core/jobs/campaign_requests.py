"""From one setting of a campaign to the training and the attack that are asked for. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import select

from core.attacks import ATTACKS, configure
from core.campaigns.grid import blocks, title_of
from core.campaigns.plan import Campaign, Setting
from core.campaigns.resolve import Resolved, resolve, resolved_setting, spec_of
from core.errors import UserError
from core.jobs.compose import AttackRequest
from core.jobs.material import weights_of
from core.jobs.plan import check_fits, check_statistics
from core.jobs.training import TrainRequest, check_start_and_room, final_model, trained_models
from core.leakage.defences import check_defences
from core.leakage.threat import ThreatModel
from core.models.catalogue import check_spec, check_train_mode
from core.models.presets import preset_weights
from core.models.spec import ModelSpec
from core.models.training.checks import check_recipe
from core.names import safe_text
from core.storage.schema import models
from core.storage.store import Store


def check_campaign(store: Store, campaign: Campaign) -> dict[str, Resolved]:
    """Refuse, in one sentence that names the setting, what cannot run; returns its data sets. Raises UserError."""
    found = resolve(campaign, store.settings)
    checked = set()
    for block in blocks(campaign):
        one = found[block.data.name]
        first = resolved_setting(block.first, found)
        with _named(campaign, first):
            spec = _spec(store, first, one)
            check_spec(spec)
            _check_training(store, first, spec, one)
        alike = str(replace(block.victim, name="", init_seed=0))
        for threat, attack in block.pairs:  # the same for every such victim and recipe, but for the augmentation
            training = block.training.name if threat.augmented and block.training else None
            parts = (block.data.name, alike, training, threat.name, attack.name)
            if parts not in checked:
                checked.add(parts)
                setting = resolved_setting(block.setting(threat, attack), found)
                with _named(campaign, setting):
                    _check(setting, spec, one.originals)
    return found


@contextmanager
def _named(campaign: Campaign, setting: Setting) -> Iterator[None]:
    """A refusal with the parts of the setting that it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{str(error).rstrip('.')} (setting {title_of(campaign, setting)}).") from None


def train_request(store: Store, campaign: Campaign, setting: Setting) -> TrainRequest:
    """The training that a setting's victim comes from. Raises UserError."""
    one = resolve_one(store, campaign, setting)
    if setting.recipe is None or setting.training is None:
        raise ValueError(f"The setting {setting.title} is not trained.")
    name = f"{setting.victim.name}, {setting.training.name}"
    return TrainRequest(_spec(store, setting, one), name, setting.data.train_choice, setting.recipe, campaign.device)


def attack_request(store: Store, campaign: Campaign, setting: Setting, train_job: int | None) -> AttackRequest:
    """The attack of a setting; its originals are decoded here. Raises UserError."""
    from core.images.chosen import load_choice

    one = resolve_one(store, campaign, setting)
    setting = resolved_setting(setting, {setting.data.name: one})
    spec, name = _victim(store, setting, one, train_job)
    weights = preset_weights(setting.victim.preset) if setting.victim.preset else weights_of(store, spec)
    prepared = load_choice(store.settings, setting.data.originals_choice, spec=spec, seed=campaign.seed)
    threat = setting.threat_model
    return AttackRequest(
        spec,
        name,
        weights,
        setting.data.dataset.rpartition("/")[2],
        tuple(prepared),
        setting.attack.attack,
        setting.attack.settings,
        threat,
        campaign.seed,
        min(setting.attack.controls, len(prepared) // threat.batch_size),
        campaign.device,
    )


def kept_epochs(store: Store, train_job: int) -> set[int | None]:
    """Epochs of a training whose weights are in the store; None among them stands for the last."""
    return {None if model.facts.get("final") else model.epoch for model in trained_models(store, train_job)}


def resolve_one(store: Store, campaign: Campaign, setting: Setting) -> Resolved:
    """The data set of one setting, opened."""
    return resolve(replace(campaign, data=(setting.data,)), store.settings)[setting.data.name]


def _check_training(store: Store, setting: Setting, spec: ModelSpec, one: Resolved) -> None:
    if setting.recipe is None:
        return
    if len(one.classes) < 2:
        raise UserError(f"{len(one.classes)} class is too few to train a classifier; choose at least 2.")
    check_recipe(setting.recipe, spec, one.train_images)
    check_start_and_room(store.settings, spec, setting.recipe, one.train_images, one.entries)


def _check(setting: Setting, spec: ModelSpec, count: int) -> None:
    threat, attack = setting.threat_model, ATTACKS[setting.attack.attack]
    check_fits(attack, threat)
    check_defences(threat, spec)
    check_statistics(attack, configure(attack.name, setting.attack.settings), spec, threat)
    if threat.batchnorm == "train":
        check_train_mode(spec, threat.least_batch)
    _check_count(count, threat)


def _check_count(count: int, threat: ThreatModel) -> None:
    if count % threat.batch_size:
        raise UserError(
            f"{count} originals do not fill updates of {threat.batch_size}; choose a multiple of {threat.batch_size}."
        )


def _spec(store: Store, setting: Setting, one: Resolved) -> ModelSpec:
    spec = spec_of(setting.victim, one)
    return spec if spec is not None else _stored(store, setting)[0]


def _victim(store: Store, setting: Setting, one: Resolved, train_job: int | None) -> tuple[ModelSpec, str]:
    """The model that is attacked and its name."""
    if setting.victim.model is not None:
        return _stored(store, setting)
    if setting.recipe is None or setting.training is None:
        return _spec(store, setting, one), setting.victim.name
    if train_job is None:
        raise ValueError(f"The setting {setting.title} has no training.")
    if setting.epoch is None:
        model = final_model(store, train_job)
        return model.spec, model.name
    for model in trained_models(store, train_job):
        if model.epoch == setting.epoch:
            return model.spec, model.name
    raise UserError(f"Training {train_job} kept no weights of epoch {setting.epoch}; launch the campaign anew.")


def _stored(store: Store, setting: Setting) -> tuple[ModelSpec, str]:
    with store.database.read() as connection:
        wanted = select(models.c.spec, models.c.name).where(models.c.id == setting.victim.model)
        row = connection.execute(wanted).first()
    if row is None:
        raise UserError(
            f"There is no model {setting.victim.model} in this store, which victim "
            f"{safe_text(setting.victim.name)!r} names; take a number from the Models page."
        )
    return ModelSpec.from_json(row.spec), str(row.name)
