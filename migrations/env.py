"""Lets Alembic work on the application's database (DATABASE_URL)."""

from alembic import context
from gevent import monkey

monkey.patch_all()

from app import create_app  # noqa: E402
from app.extensions import db  # noqa: E402

# The application that upgrades itself hands itself over; from the command line there is none yet.
app = context.config.attributes.get("app") or create_app()

with app.app_context():
    options = {
        "target_metadata": db.metadata,
        "compare_server_default": True,
        # SQLite cannot alter a table: Alembic copies it instead.
        "render_as_batch": True,
    }
    if context.is_offline_mode():
        context.configure(url=db.engine.url, literal_binds=True, **options)
        with context.begin_transaction():
            context.run_migrations()
    else:
        with db.engine.connect() as connection:
            context.configure(connection=connection, **options)
            with context.begin_transaction():
                context.run_migrations()
