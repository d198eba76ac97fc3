"""The probe that runs inside of a container, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from deploy.doctor import containers, probe
from deploy.doctor.containers import Running
from deploy.doctor.processes import Probe
from deploy.local.ports import find_free


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A process that is not ready."""

    async def readyz(_request: web.Request) -> web.Response:
        return web.json_response({"ok": [], "failing": ["postgres"]}, status=503)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text="payflow_build_info 1\n")

    application = web.Application()
    application.router.add_get("/readyz", readyz)
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_the_source_alone_is_enough(port: int) -> None:
    """It is given to a Python that has none of our code, and its output is a Probe."""
    free = find_free()
    edges = [f"127.0.0.1:{port}", f"127.0.0.1:{free}", "no.such.host.invalid:1"]
    command = [sys.executable, "-I", "-c", Path(probe.__file__).read_text(), str(port), *edges]
    before = time.time()
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True, cwd="/")
    found = Probe.read("auth-0", "auth", json.loads(done.stdout), seen=(before, time.time()))

    assert ({"ok": [], "failing": ["postgres"]}, "payflow_build_info 1\n") == (found.ready, found.metrics)
    assert ["open", "refused", "unresolved"] == list(found.edges.values())
    assert found.open_files is not None
    assert found.at is not None
    assert before <= found.at <= time.time()


def test_an_address_that_does_not_respond_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dropped packet, as a NetworkPolicy drops it: the connection attempt ends with the time limit."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        monkeypatch.setattr(probe, "EDGE_SECONDS_MAX", 0.1)
        address = full.getsockname()
        # The queue of connections that nothing accepts is full after these.
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        assert "blocked" == probe.reach(f"127.0.0.1:{address[1]}")
        for each in waiting:
            each.close()


def test_a_silent_process_has_no_metrics() -> None:
    """A port at which nothing listens."""
    assert None is probe.read(f"http://127.0.0.1:{find_free()}/metrics")


def test_a_container_in_which_the_probe_fails_does_not_respond() -> None:
    """Whatever ends the command, the others are still read."""
    running = [Running("auth-1", "auth", lambda command: ["false", *command])]

    assert [Probe("auth-1", "auth")] == containers.probe_all(running, {"auth": ()})
