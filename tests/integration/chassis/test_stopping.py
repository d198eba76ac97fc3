"""A stopped role ends in time, whatever it still waits for."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress

import pytest

from deploy.local.ports import find_free

PROGRAM = """
import asyncio, time
from services.chassis import roles
from services.chassis.settings import RoleSettings

roles.STOP_SECONDS_MAX = 0.5

async def hold_on():
    {how}

async def serve(settings, runtime):
    await runtime.until_stopped()
    await hold_on()

roles.run("demo", {{"api": roles.Role(RoleSettings, serve)}}, {{}}, ["api"])
"""
STUBBORN = """
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
"""
LEFT_BEHIND = "asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)"
SECONDS_MAX = 20


async def ended(how: str) -> tuple[int, list[dict[str, object]]]:
    """Run a role that does this when it is stopped, and stop it: its exit code and its log."""
    variables = os.environ | {
        "PAYFLOW_METRICS_PORT": str(find_free()),
        "PAYFLOW_HOST": "127.0.0.1",
        "PAYFLOW_SERVICE_KEY": base64.b64encode(bytes(range(32))).decode(),
        "PAYFLOW_SERVICE_PUBLIC_KEYS": "{}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM.format(how=how), env=variables, stderr=PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(SECONDS_MAX):
            lines = [json.loads(await process.stderr.readline())]
            process.send_signal(signal.SIGTERM)
            lines += [json.loads(line) for line in (await process.stderr.read()).splitlines()]
            return await process.wait(), lines
    finally:
        with suppress(ProcessLookupError):
            process.kill()


@pytest.mark.parametrize(
    ("how", "named"),
    [(STUBBORN, "hold_on"), ("time.sleep(60)", "hold_on"), (LEFT_BEHIND, "shutdown_default_executor")],
    ids=["a-task-that-swallows-its-end", "a-loop-that-is-blocked", "a-thread-left-behind"],
)
async def test_a_hanging_stop_is_aborted(how: str, named: str) -> None:
    """A role that does not end in time is killed, exit code 1, and one log line names what it waited for."""
    code, lines = await ended(how)
    [given_up] = [line for line in lines if line["event"] == "role_shutdown_timed_out"]

    assert (1, "error") == (code, given_up["level"])
    assert named in f"{given_up['main']} {given_up['tasks']}"


async def test_an_orderly_stop_exits_with_0() -> None:
    """A role that ends in time ends with 0."""
    code, lines = await ended("await asyncio.sleep(0)")

    assert (0, ["role_started", "role_stopped"]) == (code, [line["event"] for line in lines])
