"""Following live events with the client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from payflow import cli
from payflow.client import PayFlow
from payflow.errors import Problem
from payflow.events import Event
from tests.integration.payflow.conftest import ALICE, PASSWORD, QUICK, FakeGateway, Fault, Faults, Handler

ROUTE = "GET /events"


def line(id_: int | None, type_: str, **data: Any) -> str:
    place = "" if id_ is None else f"id: {id_}\n"
    return f"{place}event: {type_}\ndata: {json.dumps(data)}\n\n"


def streaming(*blocks: str, cut: bool = False) -> Fault:
    """A stream with these lines, which then ends or breaks."""

    async def fault(request: web.Request, _: Handler) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write("".join(("retry: 2000\nid: 4\n\n", ": still here\n\n", *blocks)).encode())
        if cut:
            assert request.transport is not None
            request.transport.close()
        return response

    return fault


async def follow(gateway: FakeGateway, count: int, **options: Any) -> list[Event]:
    events: list[Event] = []
    async with (
        PayFlow(gateway.url, email=ALICE["email"], password=PASSWORD, limits=QUICK) as payflow,
        asyncio.timeout(30),
    ):
        async for event in payflow.events(**options):
            events.append(event)
            if len(events) == count:
                break
    return events


async def test_resuming(gateway: FakeGateway, faults: Faults) -> None:
    """A stream that ends, breaks, is cut in the middle of an event or is refused is reopened after the last event."""
    gateway.fail(
        ROUTE,
        streaming(line(5, "transfer.pending", id="a")),
        faults.cut(after=False),
        streaming(line(6, "transfer.completed", id="a"), 'id: 7\nevent: notification\ndata: {"tit', cut=True),
        faults.refuse(503, "upstream_unavailable", retry_after="0"),
        streaming(line(7, "notification", title="Sent"), line(None, "server_draining", code="server_draining")),
        streaming(line(9, "reset", reason="too_old")),
    )
    events = await follow(gateway, 4)

    assert [(5, "transfer.pending"), (6, "transfer.completed"), (7, "notification"), (9, "reset")] == [
        (event.id, event.type) for event in events
    ]
    assert [None, "5", "5", "6", "6", "7"] == [one.headers.get("Last-Event-ID") for one in gateway.seen(ROUTE)]


async def test_cut_off_before_the_first_event(gateway: FakeGateway) -> None:
    """A stream that breaks before its first event is resumed at the position that it began with."""
    gateway.fail(ROUTE, streaming(), streaming(line(5, "notification")))
    await follow(gateway, 1)

    assert [None, "4"] == [one.headers.get("Last-Event-ID") for one in gateway.seen(ROUTE)]


async def test_token_expires(gateway: FakeGateway, faults: Faults) -> None:
    """When the token expires or is refused, a new one is fetched and the stream continues."""
    gateway.fail(
        ROUTE,
        streaming(line(5, "notification"), line(None, "token_expired", code="token_expired")),
        faults.refuse(401, "invalid_token"),
        streaming(line(6, "notification")),
    )
    events = await follow(gateway, 2, last_event_id=4)

    assert [5, 6] == [event.id for event in events]
    assert 3 == len({one.headers["Authorization"] for one in gateway.seen(ROUTE)})


async def test_permanent_refusal(gateway: FakeGateway, faults: Faults) -> None:
    """A refusal that a retry does not help is raised."""
    gateway.fail(ROUTE, faults.refuse(422, "invalid_request"))
    with pytest.raises(Problem) as refused:
        await follow(gateway, 1)

    assert "invalid_request" == refused.value.code


def test_the_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`payflow events --help` explains the command."""
    assert 0 == cli.main(["events", "--help"])
    assert "live" in capsys.readouterr().out
