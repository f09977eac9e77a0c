"""Alembic's entry: core.storage.database hands over a connection that holds the lock."""

from alembic import context

from core.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
