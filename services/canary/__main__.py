"""`python -m services.canary probe`."""

from __future__ import annotations

import sys

from services.canary.app import serve_probe
from services.canary.settings import CanarySettings
from services.chassis.roles import Job, Role, run

ROLES = {"probe": Role(CanarySettings, serve_probe)}
JOBS: dict[str, Job] = {}

if __name__ == "__main__":
    run("canary", ROLES, JOBS, sys.argv[1:])
