"""Every table of the store. Words are those of docs/architecture.md.

Times are UTC seconds since the epoch (float). JSON columns hold canonical JSON text. Image and file columns
hold the sha256 of an artifact. A change that pages must notice bumps a row of `changes`.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)
SHA = String(64)

# --- what is attacked -------------------------------------------------------------------------------------
models = Table(
    "models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("spec", Text, nullable=False),  # ModelSpec JSON
    Column("identity", SHA, nullable=False, unique=True),  # sha256 of spec (which names the weights)
    Column("weights_sha", SHA),  # safetensors artifact; NULL when the preset draws its weights
    Column("origin", String(200), nullable=False),
    Column("job_id", Integer, ForeignKey("jobs.id")),  # the training that made it
    Column("epoch", Integer),  # of that training
    Column("facts", Text),  # JSON: accuracy, train_accuracy, parameters, dataset, recipe, epsilon, …
    Column("created", Float, nullable=False),
)
originals = Table(
    "originals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("dataset", String(200), nullable=False),
    Column("name", String(400), nullable=False),
    Column("image_sha", SHA, nullable=False),  # the very pixels given to the victim
    Column("source_sha", SHA),  # the picture before resize, crop and augmentation
    Column("label", Integer, nullable=False),
    Column("label_source", String(20), nullable=False),  # folder, table, hand, drawn, dataset
    Column("class_name", String(200)),
    Column("created", Float, nullable=False),
    UniqueConstraint("dataset", "name", "image_sha", "label"),
)

# --- jobs -------------------------------------------------------------------------------------------------
jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(20), nullable=False),  # attack, score, train, campaign, semsim
    Column("title", String(300), nullable=False),
    Column("payload_type", String(60), nullable=False),
    Column("payload_version", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("identity", SHA, nullable=False, index=True),
    Column("parent_id", Integer, ForeignKey("jobs.id")),
    Column("state", String(12), nullable=False, index=True),  # queued, running, paused, done, failed, cancelled
    Column("wanted", String(12), nullable=False, default="run"),  # what the user asks for: run, pause, cancel
    Column("lease_owner", String(100)),
    Column("lease_until", Float),
    Column("attempt", Integer, nullable=False, default=0),
    Column("error", Text),  # one sentence for the user
    Column("record", Text),  # JSON: versions, device, threads, engine path, timings
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
)
job_dependencies = Table(
    "job_dependencies",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("depends_on", Integer, ForeignKey("jobs.id"), primary_key=True),
)
shards = Table(
    "shards",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("role", String(12), nullable=False),  # attack, mismatched, prior, easy, score
    Column("plan", Text, nullable=False),  # JSON: the targets of this shard
    Column("state", String(12), nullable=False),  # queued, running, done, failed, split
    Column("parent_id", Integer, ForeignKey("shards.id")),  # the shard that this one was split from
    Column("attempt", Integer, nullable=False, default=0),
    Column("checkpoint_sha", SHA),
    Column("checkpoint_version", Integer, nullable=False, default=0),
    Column("step", Integer, nullable=False, default=0),
    Column("total", Integer, nullable=False, default=0),
    Column("error", Text),
    UniqueConstraint("job_id", "position"),
)
job_progress = Table(  # the loss curve: thinned, one row every few steps
    "job_progress",
    metadata,
    Column("shard_id", Integer, ForeignKey("shards.id"), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("losses", Text, nullable=False),  # JSON: lowest loss of each target, "NaN" written as null
)
training_epochs = Table(  # the training curve: one row an epoch
    "training_epochs",
    metadata,
    Column("job_id", Integer, ForeignKey("jobs.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("facts", Text, nullable=False),  # JSON of core.models.training.progress.EpochRow
)
campaign_settings = Table(  # the rows of a campaign's table, in the order of its plan
    "campaign_settings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("campaign_id", Integer, ForeignKey("jobs.id"), nullable=False),  # the job of kind campaign
    Column("position", Integer, nullable=False),
    Column("title", String(300), nullable=False),
    Column("parts", Text, nullable=False),  # JSON: names of data, victim, recipe, threat, attack within the plan
    Column("train_job_id", Integer, ForeignKey("jobs.id")),  # NULL: nothing to train, or not asked for yet
    Column("attack_job_id", Integer, ForeignKey("jobs.id"), index=True),  # NULL: not asked for yet
    Column("error", Text),  # why it has no run, in one sentence
    UniqueConstraint("campaign_id", "position"),
)
previews = Table(
    "previews",
    metadata,
    Column("shard_id", Integer, ForeignKey("shards.id"), primary_key=True),
    Column("target", Integer, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("image_sha", SHA, nullable=False),
)

# --- results ----------------------------------------------------------------------------------------------
updates = Table(
    "updates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("position", Integer, nullable=False),  # which update of the job
    Column("batch_size", Integer, nullable=False),
    Column("gradient_norm", Float),
    Column("loss", Float),
    Column("labels_recovered", Text),  # JSON list when labels were inferred
    UniqueConstraint("job_id", "position"),
)
reconstructions = Table(
    "reconstructions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", Integer, ForeignKey("jobs.id"), nullable=False),
    Column("update_id", Integer, ForeignKey("updates.id")),
    Column("role", String(12), nullable=False),  # attack, mismatched, prior, easy
    Column("target", Integer, nullable=False),  # slot within the job: update position * batch size + place
    Column("restart", Integer, nullable=False),
    Column("chosen", Boolean, nullable=False),  # by the attack's own loss
    Column("image_sha", SHA, nullable=False),
    Column("loss", Float),
    Column("label", Integer),  # granted or recovered
    Column("iterations", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("status", String(200), nullable=False),  # "ok" or why it stopped
    Column("created", Float, nullable=False),
    UniqueConstraint("job_id", "role", "target", "restart"),
)
pairings = Table(
    "pairings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("reconstruction_id", Integer, ForeignKey("reconstructions.id"), nullable=False),
    Column("original_id", Integer, ForeignKey("originals.id"), nullable=False),
    Column("method", String(20), nullable=False),  # given, assignment, nearest
    Column("cost_name", String(40), nullable=False),  # "" when given
    Column("cost", Float),
    Column("reference", String(20), nullable=False, default="attacked"),  # attacked pixels, or source
    UniqueConstraint("reconstruction_id", "reference"),
    Index("ix_pairings_original_id", "original_id"),
)
sets = Table(
    "sets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("rule", Text, nullable=False),  # JSON: how its members were chosen
    Column("identity", SHA, nullable=False, unique=True),
    Column("created", Float, nullable=False),
)
set_members = Table(
    "set_members",
    metadata,
    Column("set_id", Integer, ForeignKey("sets.id"), primary_key=True),
    Column("pairing_id", Integer, ForeignKey("pairings.id"), primary_key=True),
)
scores = Table(
    "scores",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject_kind", String(8), nullable=False),  # pairing, set
    Column("subject_id", Integer, nullable=False),
    Column("reference", String(20), nullable=False),
    Column("metric", String(60), nullable=False),
    Column("metric_version", String(40), nullable=False),
    Column("weights_hash", String(64), nullable=False, default=""),
    Column("value", Float),  # finite; NULL otherwise, and `special` says which
    Column("special", String(4)),  # inf, -inf, or NULL
    Column("reason", Text, nullable=False, default=""),  # why there is no value
    Column("created", Float, nullable=False),
    CheckConstraint("subject_kind in ('pairing', 'set')", name="subject_kind"),
    CheckConstraint("value is not null or special is not null or reason <> ''", name="value_or_reason"),
    UniqueConstraint("subject_kind", "subject_id", "reference", "metric", "metric_version", "weights_hash"),
    Index("ix_scores_metric", "metric"),
)

# --- people -----------------------------------------------------------------------------------------------
annotators = Table(
    "annotators",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("simulated", Boolean, nullable=False, default=False),
    Column("identity", String(300), unique=True),  # a signed-in identity, attached later
    Column("created", Float, nullable=False),
)
studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("protocol", String(40), nullable=False),
    Column("protocol_version", Integer, nullable=False),
    Column("wording", Text, nullable=False),
    Column("overlap", Integer, nullable=False),  # answers wanted for each item
    Column("state", String(12), nullable=False),  # open, closed
    Column("config", Text, nullable=False),  # JSON: sampling, seed, gold, breaks
    Column("created", Float, nullable=False),
)
items = Table(
    "items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", Integer, ForeignKey("studies.id"), nullable=False),
    Column("subject", String(100), nullable=False),  # e.g. "reconstruction:17"; unique in its study
    Column("chosen_at_random", Boolean, nullable=False),
    Column("gold", String(200)),  # the expected answer of a gold item
    Column("created", Float, nullable=False),
    UniqueConstraint("study_id", "subject"),
)
item_reconstructions = Table(
    "item_reconstructions",
    metadata,
    Column("item_id", Integer, ForeignKey("items.id"), primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("reconstruction_id", Integer, ForeignKey("reconstructions.id"), nullable=False),
    Index("ix_item_reconstructions_reconstruction_id", "reconstruction_id"),
)
item_leases = Table(
    "item_leases",
    metadata,
    Column("item_id", Integer, ForeignKey("items.id"), primary_key=True),
    Column("annotator_id", Integer, ForeignKey("annotators.id"), primary_key=True),
    Column("until", Float, nullable=False),
)
label_events = Table(  # append-only: no row is ever changed or deleted
    "label_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("event_id", String(64), nullable=False, unique=True),  # made by the client: a retry is no second answer
    Column("kind", String(12), nullable=False),  # answer, undo, exclude, include
    Column("study_id", Integer, ForeignKey("studies.id")),
    Column("item_id", Integer, ForeignKey("items.id")),
    Column("annotator_id", Integer, ForeignKey("annotators.id"), nullable=False),
    Column("protocol_version", Integer, nullable=False),
    Column("answer", String(200)),
    Column("seconds", Float),
    Column("blind", Boolean, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),  # 1 for the first answer of this annotator to this item
    Column("created", Float, nullable=False),
    Index("ix_label_events_item_id_annotator_id", "item_id", "annotator_id"),
)
imported_tables = Table(  # scores and answers made elsewhere, kept apart from the store's own
    "imported_tables",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("file_sha", SHA, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("created", Float, nullable=False),
)
changes = Table(  # a cheap counter to poll: name is "jobs", "scores" or "labels"
    "changes",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Integer, nullable=False),
)
