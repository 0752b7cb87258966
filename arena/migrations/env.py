"""How Alembic runs the migrations: on the connection that `Database.migrate` gives it."""

from alembic import context

from ml_trainer_env.arena.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
connection.commit()
