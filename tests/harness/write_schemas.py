"""`make schema`: write services/*/sql/schema.sql from the migrated databases."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from deploy.local import environment
from deploy.local.engines import Postgres
from deploy.local.engines.postgres import DATABASES
from tests.harness.databases import Templates
from tests.integration.test_migrations import SERVICES, schema


async def main() -> None:
    """Migrate each database on a private server and dump its schema."""
    environment.forget_driver_variables(os.environ)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        postgres = Postgres(Path(directory) / "postgres")
        await postgres.start()
        await postgres.provision()
        templates = Templates(postgres)
        try:
            for database in DATABASES:
                made = await templates.fresh(database)
                (SERVICES / database / "sql" / "schema.sql").write_text(schema(postgres, made.name))
        finally:
            await templates.close()
            await postgres.stop()


if __name__ == "__main__":
    asyncio.run(main())
