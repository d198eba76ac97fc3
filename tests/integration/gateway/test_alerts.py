"""The firing alerts in the overview: from a real Alertmanager, and from one that is broken, slow or absent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from services.gateway.clients import alertmanager
from services.gateway.clients.alertmanager import Alertmanager
from tests.harness import prometheus
from tests.integration.gateway.conftest import Open

OVERVIEW = "/api/v1/ops/overview"
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(respond: Respond) -> AsyncIterator[str]:
    """The address of an Alertmanager that responds like this."""
    app = web.Application()
    app.router.add_get("/api/v2/alerts", respond)
    async with TestServer(app) as server:
        yield str(server.make_url(""))


async def hang(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("the client is gone")


async def drip(request: web.Request) -> web.StreamResponse:
    """Send a page that has no end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


def fixed(**response: Any) -> Respond:
    async def respond(_request: web.Request) -> web.StreamResponse:
        return web.Response(**response)

    return respond


def alert(**labels: str) -> dict[str, Any]:
    """An alert as Prometheus sends it, which started a minute ago."""
    started = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    return {"labels": labels, "annotations": {"runbook": "docs/operations/runbooks/jobs.md"}, "startsAt": started}


async def test_alerts_of_a_real_alertmanager(open_client: Open, operator_token: str, tmp_path: Path) -> None:
    """Firing alerts have name, severity, start and runbook; the watchdog and silenced ones are left out."""
    async with prometheus.alerting(tmp_path) as (address, _), aiohttp.ClientSession() as session:
        base = f"http://{address}/api/v2"
        firing = [
            alert(alertname="PostgresDown", severity="critical"),
            alert(alertname="Watchdog", severity="none"),
            alert(alertname="Silenced", severity="warning"),
        ]
        silence = {
            "matchers": [{"name": "alertname", "value": "Silenced", "isRegex": False}],
            "startsAt": datetime.now(UTC).isoformat(),
            "endsAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            "createdBy": "test",
            "comment": "test",
        }
        async with session.post(f"{base}/silences", json=silence) as silenced:
            assert silenced.status == 200
        async with session.post(f"{base}/alerts", json=firing) as posted:
            assert posted.status == 200
        async with open_client(alertmanager_url=f"http://{address}") as api, asyncio.timeout(30):
            while not (found := (await api.call("GET", OVERVIEW, token=operator_token)).json()["alerts"]):
                await asyncio.sleep(0.05)

    [one] = found
    assert ("PostgresDown", "critical", "docs/operations/runbooks/jobs.md") == (
        one["name"], one["severity"], one["runbook"],
    )  # fmt: skip
    assert datetime.fromisoformat(one["since"]) < datetime.now(UTC)


@pytest.mark.parametrize(
    "respond",
    [
        hang,
        drip,
        fixed(text="not JSON"),
        fixed(text="{}", content_type="application/json"),
        fixed(text='[{"labels": {}}]'),
        fixed(text='[{"labels": {"alertname": "A"}, "startsAt": "yesterday"}]'),
        fixed(text="[1]"),
        fixed(status=503),
        fixed(status=302, headers={"Location": "http://127.0.0.1:1/"}),
    ],
    ids=["hangs", "no end", "no JSON", "no list", "no name", "no time", "numbers", "503", "redirect"],
)
async def test_a_broken_alertmanager_costs_only_its_alerts(respond: Respond, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Alertmanager does, the alerts are unknown (null) within its deadline."""
    monkeypatch.setattr(alertmanager, "SECONDS", 0.2)
    async with served(respond) as address:
        alerts = Alertmanager(address)
        began = time.monotonic()
        async with asyncio.timeout(20):
            found = await alerts.list_firing()
        await alerts.close()

    # A bound for a busy machine; without its deadline `hang` would never end.
    assert (None, True) == (found, time.monotonic() - began < 20)


async def test_the_overview_without_alertmanager(open_client: Open, operator_token: str) -> None:
    """No connection: the overview is as complete as before, and its alerts are null."""
    async with open_client(alertmanager_url="http://127.0.0.1:1") as api:
        response = await api.call("GET", OVERVIEW, token=operator_token)

    assert (200, None) == (response.status, response.json()["alerts"])
    assert 4 == len(response.json()["services"])
