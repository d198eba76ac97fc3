"""`migrate`: bring a service's database to the newest revision with Alembic; revisions only load `sql/migrations/NNNN.sql`."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from services.chassis import revisions
from services.chassis.database import PostgresError
from services.chassis.roles import JobFailed

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS = Path(__file__).parent / "alembic"

LOCK_TIMEOUT = "2s"
"""A migration that waits for a table lock blocks all later statements on the table: it gives up early instead."""

_INVALID_INDEXES = (Path(__file__).parent / "sql" / "invalid_indexes.sql").read_text()

log = structlog.get_logger()


def load(revision_file: str) -> None:
    """Run the `.sql` file beside a revision, in the revision's transaction. Called by every revision."""
    script = Path(revision_file).with_suffix(".sql").read_text()
    run_script(script)


def run_script(script: str) -> None:
    """Run a script of several statements on the revision's connection."""
    from alembic import op  # noqa: PLC0415 - see migrate

    # asyncpg prepares statements of a cursor, and a prepared statement is a single command; its simple protocol runs a whole
    # script, within the transaction that Alembic has begun.
    op.get_bind().connection.dbapi_connection.run_async(lambda driver: driver.execute(script))  # type: ignore[union-attr]


def load_concurrently(revision_file: str) -> None:
    """Run the `.sql` file beside a revision, one statement at a time and each in a transaction of its own.

    For `CREATE INDEX CONCURRENTLY IF NOT EXISTS` and `DROP INDEX CONCURRENTLY IF EXISTS`: they do not block writes, however
    large the table is, and PostgreSQL refuses them inside a transaction. Statements end with `;` at the end of a line. After
    a failure the revision runs again from its start; an index that is only partly built is removed first.
    """
    from alembic import op  # noqa: PLC0415 - see migrate

    script = Path(revision_file).with_suffix(".sql").read_text()
    with op.get_context().autocommit_block():
        # Such a statement waits for running transactions and blocks nothing meanwhile, so it needs no timeout.
        run_script("SET lock_timeout = 0")
        for (name,) in op.get_bind().exec_driver_sql(_INVALID_INDEXES).all():
            run_script(f"DROP INDEX CONCURRENTLY {name}")
        for statement in re.split(r";\s*$", script, flags=re.MULTILINE):
            if statement.strip():
                run_script(statement)
        run_script(f"SET lock_timeout = '{LOCK_TIMEOUT}'")


async def migrate(service: str, url: str) -> None:
    """Upgrade the database at `url` (the DSN of the owner). It is idempotent; concurrent migrations run one after the other.

    A database that a later release has migrated is left as it is: this code runs on it, too.

    Raises:
        JobFailed: the database refused the migration or is unavailable.
    """
    # The __main__ of every role imports this module; only this job pays the quarter second that Alembic takes to load.
    from alembic import command  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        found = await revisions.find(url)
        if found is not None and found > revisions.newest(service):
            log.info("database_newer", database=service, found=found, known=revisions.newest(service))
            return
        await asyncio.to_thread(command.upgrade, configure(service, url), "head")
    except (DBAPIError, PostgresError, OSError) as error:
        raise JobFailed(f"cannot migrate: {str(error).splitlines()[0]}") from error
    log.info("database_migrated", database=service)


def configure(service: str, url: str) -> Config:
    """The configuration of Alembic for the migrations of a service and the database at `url`."""
    from alembic.config import Config  # noqa: PLC0415 - see migrate

    configuration = Config()
    configuration.set_main_option("script_location", str(SCRIPTS))
    configuration.set_main_option("path_separator", "os")
    versions = Path(__file__).parent.parent / service / "sql" / "migrations"
    configuration.set_main_option("version_locations", str(versions).replace("%", "%%"))
    configuration.attributes["url"] = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    return configuration
