"""`python -m services.chassis.healthcheck`: whether the role in this container is alive, for the container's health check.

It runs every few seconds in each container, so it imports no package. The port is read from the environment, not from a file.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException

LOOPBACK = "127.0.0.1"
METRICS_PORT = "9100"
"""The default of the settings."""

RESPONSE_SECONDS = 2.0


def check(port: str, *, seconds: float = RESPONSE_SECONDS) -> str | None:
    """Why the role is not alive; None if it is."""
    try:
        with closing(HTTPConnection(LOOPBACK, int(port), timeout=seconds)) as connection:
            connection.request("GET", "/livez")
            status = connection.getresponse().status
    except (OSError, HTTPException, ValueError, OverflowError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None if status == 200 else f"/livez returned {status}"  # noqa: PLR2004


if __name__ == "__main__":
    failure = check(os.environ.get("PAYFLOW_METRICS_PORT") or METRICS_PORT)
    print("alive" if failure is None else f"not alive: {failure}")  # noqa: T201 - one line for the container's engine
    sys.exit(0 if failure is None else 1)
