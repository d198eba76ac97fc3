"""The job demo-seed: create the demo users and their money through the gateway; safe to repeat, as the keys of payments are."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import aiohttp

from deploy.local import seed
from deploy.local.errors import LocalError

GATEWAY = "http://gateway:8000"
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.5


async def grant(email: str) -> None:
    """Make a user an operator, with the login of auth.

    Raises:
        LocalError: it was refused.
    """
    command = [sys.executable, "-m", "services.auth", "grant", email, "operator"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalError(f"{email} was not made an operator: {done.stderr.strip()}")


async def wait_ready(gateway: str) -> None:
    """Wait until the gateway can serve requests.

    Raises:
        LocalError: it cannot within READY_SECONDS_MAX.
    """
    deadline = time.monotonic() + READY_SECONDS_MAX
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while time.monotonic() < deadline:
            try:
                async with session.get(f"{gateway}/readyz") as response:
                    if response.status == 200:  # noqa: PLR2004 - OK
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(POLL_SECONDS)
    raise LocalError(f"{gateway} was not ready in {READY_SECONDS_MAX:.0f} s")


async def main(gateway: str) -> None:
    """Wait for the gateway, then seed."""
    await wait_ready(gateway)
    await seed.seed(gateway, grant, with_canary=True)


if __name__ == "__main__":
    if os.environ.get("PAYFLOW_DEMO") != "1":
        sys.exit("payflow: demo users have public passwords: they are created only with PAYFLOW_DEMO=1")
    try:
        asyncio.run(main(*sys.argv[1:] or [GATEWAY]))
    except LocalError as error:
        sys.exit(f"payflow: {error}")
    print("the demo users have their money")
