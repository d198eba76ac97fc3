"""`python -m services.auth api|migrate|grant|rotate-keys`."""

from __future__ import annotations

import sys

from services.auth import app
from services.auth.settings import AuthSettings, GrantSettings, MigrateSettings, RotateSettings
from services.chassis.roles import Job, Role, run

ROLES = {"api": Role(AuthSettings, app.serve_api)}
JOBS = {
    "migrate": Job(MigrateSettings, app.migrate),
    "grant": Job(GrantSettings, app.grant),
    "rotate-keys": Job(RotateSettings, app.rotate_keys),
}

if __name__ == "__main__":
    run("auth", ROLES, JOBS, sys.argv[1:])
