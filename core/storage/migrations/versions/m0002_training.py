"""Victims trained here, their training curves, and campaigns."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns of models, and two tables."""
    with op.batch_alter_table("models") as models:
        models.add_column(sa.Column("job_id", sa.Integer(), nullable=True))
        models.add_column(sa.Column("epoch", sa.Integer(), nullable=True))
        models.add_column(sa.Column("facts", sa.Text(), nullable=True))
        models.create_foreign_key(op.f("fk_models_job_id_jobs"), "jobs", ["job_id"], ["id"])
    op.create_table(
        "training_epochs",
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_training_epochs_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_training_epochs")),
    )
    op.create_table(
        "campaign_settings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("train_job_id", sa.Integer(), nullable=True),
        sa.Column("attack_job_id", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["attack_job_id"], ["jobs.id"], name=op.f("fk_campaign_settings_attack_job_id_jobs")),
        sa.ForeignKeyConstraint(["campaign_id"], ["jobs.id"], name=op.f("fk_campaign_settings_campaign_id_jobs")),
        sa.ForeignKeyConstraint(["train_job_id"], ["jobs.id"], name=op.f("fk_campaign_settings_train_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaign_settings")),
        sa.UniqueConstraint("campaign_id", "position", name=op.f("uq_campaign_settings_campaign_id_position")),
    )
    op.create_index(op.f("ix_campaign_settings_attack_job_id"), "campaign_settings", ["attack_job_id"], unique=False)
