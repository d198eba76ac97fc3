"""`python -m services.gateway api`."""

from __future__ import annotations

import sys

from services.chassis.roles import Job, Role, run
from services.gateway.app import serve_api
from services.gateway.settings import GatewaySettings

ROLES = {"api": Role(GatewaySettings, serve_api)}
JOBS: dict[str, Job] = {}

if __name__ == "__main__":
    run("gateway", ROLES, JOBS, sys.argv[1:])
