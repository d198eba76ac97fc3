"""`python -m services.notification api|worker|deliver|migrate`."""

from __future__ import annotations

import sys

from services.chassis import migrations
from services.chassis.roles import Job, Role, run
from services.notification.app import serve_api
from services.notification.deliver import serve_deliver
from services.notification.settings import ApiSettings, DeliverSettings, MigrateSettings, WorkerSettings
from services.notification.worker import serve_worker


async def migrate(settings: MigrateSettings, _arguments: list[str]) -> None:
    """Bring the database to the newest revision."""
    await migrations.migrate("notification", settings.notification_owner_database_url.get_secret_value())


ROLES = {
    "api": Role(ApiSettings, serve_api),
    "worker": Role(WorkerSettings, serve_worker),
    "deliver": Role(DeliverSettings, serve_deliver),
}
JOBS = {"migrate": Job(MigrateSettings, migrate)}

if __name__ == "__main__":
    run("notification", ROLES, JOBS, sys.argv[1:])
