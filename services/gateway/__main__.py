"""`python -m services.gateway api`."""

from __future__ import annotations

import sys

from services.chassis.roles import Role, run
from services.gateway.app import serve_api
from services.gateway.settings import GatewaySettings

if __name__ == "__main__":
    run("gateway", {"api": Role(GatewaySettings, serve_api)}, {}, sys.argv[1:])
