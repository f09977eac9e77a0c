"""Epochs of trained victims that no run has used: listed for a person to delete, never pruned by themselves."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from core.errors import UserError
from core.storage.database import bump
from core.storage.prune import ENDED, still_named
from core.storage.schema import campaign_settings, jobs, models
from core.storage.store import Store
from core.storage.usage import forget_usage


@dataclass(frozen=True)
class SpareModel:
    """One epoch's weights: not its training's last, named by no job, and wanted by no campaign that goes on."""

    id: int
    name: str
    epoch: int
    job: int  # the training
    bytes: int


def spare_models(store: Store) -> list[SpareModel]:
    """All of them, in the order in which they were made."""
    with store.database.read() as connection:
        found = _spare(connection)
    artifacts = store.artifacts
    return [
        SpareModel(row.id, row.name, row.epoch, row.job_id, artifacts.path(row.weights_sha).stat().st_size)
        for row in found
        if artifacts.exists(row.weights_sha)
    ]


def delete_spare_model(store: Store, model_id: int) -> int:
    """Delete one of `spare_models` and its file; returns the bytes freed. UserError when it is none of them (now)."""
    with store.database.write() as connection:
        row = next((row for row in _spare(connection, model_id)), None)
        if row is None:
            raise UserError(
                f"The model {model_id} is not there, or is needed: a run has used it, it is its training's last, or a "
                "campaign goes on; only spare epochs can be deleted."
            )
        connection.execute(models.delete().where(models.c.id == model_id))
        bump(connection, "jobs")
    freed = 0
    if store.artifacts.exists(row.weights_sha) and not still_named(store, [row.weights_sha]):
        freed = store.artifacts.path(row.weights_sha).stat().st_size
        store.artifacts.remove(row.weights_sha)
    forget_usage(store)
    return freed


def _spare(connection: Connection, model_id: int | None = None):  # type: ignore[no-untyped-def]
    last = select(models.c.job_id, func.max(models.c.epoch).label("epoch")).group_by(models.c.job_id).subquery()
    campaigns = jobs.alias("campaigns")
    busy = (
        select(campaign_settings.c.train_job_id)
        .join(campaigns, campaigns.c.id == campaign_settings.c.campaign_id)
        .where(campaign_settings.c.train_job_id.is_not(None), campaigns.c.state.not_in(ENDED))
    )
    rows = (
        select(models.c.id, models.c.name, models.c.epoch, models.c.job_id, models.c.weights_sha)
        .join(last, last.c.job_id == models.c.job_id)
        .join(jobs, jobs.c.id == models.c.job_id)
        .where(
            models.c.epoch < last.c.epoch,
            models.c.weights_sha.is_not(None),
            jobs.c.state.in_(ENDED),
            models.c.job_id.not_in(busy),
        )
        .order_by(models.c.id)
    )
    if model_id is not None:
        rows = rows.where(models.c.id == model_id)
    users = jobs.alias("users")
    return [
        row
        for row in connection.execute(rows).all()
        if connection.execute(
            select(users.c.id).where(users.c.payload.contains(row.weights_sha, autoescape=True)).limit(1)
        ).first()
        is None
    ]
