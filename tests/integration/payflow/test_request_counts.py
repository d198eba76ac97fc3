"""The number of requests, their page sizes, and the pauses in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from payflow import event_stream, submission
from payflow.client import PayFlow
from payflow.errors import PayFlowError, Problem
from payflow.limits import Limits
from tests.integration.payflow.conftest import ALICE, PASSWORD, QUICK, FakeGateway, Faults, audit_entry
from tests.integration.payflow.test_events import ROUTE, line, streaming

PAYMENT: dict[str, Any] = {"amount": 1050, "currency": "USD", "to_email": "bob@example.com"}


@pytest.mark.parametrize("code", ["invalid_credentials", "totp_required"])
async def test_a_wrong_password_is_sent_once(gateway: FakeGateway, faults: Faults, alice: PayFlow, code: str) -> None:
    """A 401 for a password or a code in the request refreshes no session, and causes no retry."""
    await alice.find_by_key("log-in")
    gateway.always["POST /auth/totp"] = gateway.always["POST /api-keys"] = faults.refuse(401, code)

    for sent in (alice.create_api_key("shop", ["read"], password="wrong"), alice.start_totp("wrong")):
        with pytest.raises(Problem) as caught:
            await sent
        assert code == caught.value.code
    assert [1, 1] == [len(gateway.seen(route)) for route in ("POST /api-keys", "POST /auth/totp")]
    assert [] == gateway.seen("POST /auth/refresh")
    assert 1 == len(gateway.seen("POST /auth/login"))


async def test_a_refused_token_is_renewed_once(gateway: FakeGateway, faults: Faults, alice: PayFlow) -> None:
    """A gateway that refuses the new token too gets the request twice, not more often."""
    await alice.find_by_key("log-in")
    gateway.always["GET /wallets"] = faults.refuse(401, "invalid_token")

    with pytest.raises(PayFlowError):
        await alice.wallets()
    assert 2 == len(gateway.seen("GET /wallets"))
    assert 1 == len(gateway.seen("POST /auth/refresh"))


@pytest.mark.parametrize(
    ("wanted", "sizes"), [(1, ["1"]), (2, ["2"]), (3, ["3", "1"]), (5, ["5", "3", "1"]), (None, ["200"] * 4)]
)
async def test_a_list_has_the_requested_length(
    gateway: FakeGateway, ops: PayFlow, wanted: int | None, sizes: list[str]
) -> None:
    """Each request has the number of missing items as its limit, at most 200; without a limit the whole list is read."""
    gateway.pages["/ops/audit"] = [audit_entry(number) for number in range(7)]

    found = await ops.operator.audit(limit=wanted)

    assert sizes == [request.query["limit"] for request in gateway.seen("GET /ops/audit")]
    assert [str(number) for number in range(wanted or 7)] == [entry.id for entry in found.items]


async def test_pages_are_as_long_as_the_gateway_allows(gateway: FakeGateway, alice: PayFlow) -> None:
    """A list that is read page by page requests 200 items each time, and ends with the last page."""
    gateway.pages["/auth/sessions"] = [
        {"id": str(number), "created_at": "2026-01-01T00:00:00Z", "used_at": "2026-01-01T00:00:00Z", "current": False}
        for number in range(5)
    ]

    listed = [session.id async for session in alice.sessions()]

    assert ["0", "1", "2", "3", "4"] == listed
    assert [("200", None), ("200", "2"), ("200", "4")] == [
        (request.query["limit"], request.query.get("cursor")) for request in gateway.seen("GET /auth/sessions")
    ]


async def test_pauses_between_polls_grow_up_to_a_limit(
    gateway: FakeGateway, alice: PayFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pending transfer is polled after pauses that double from the shortest to the longest."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(submission, "asyncio", SimpleNamespace(sleep=sleep))
    gateway.polls_until_final = 6
    await alice.send(**PAYMENT, wait_seconds=60)

    assert [0.01, 0.02, 0.04, 0.05, 0.05, 0.05, 0.05] == pauses


async def test_a_stream_with_an_event_is_reopened_soon(
    gateway: FakeGateway, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses grow with each connection without an event, and start again after one with an event."""
    failures: list[int] = []

    def no_pause(limits: Limits, failed: int, error: PayFlowError | None) -> float:
        failures.append(failed)
        return 0.0

    monkeypatch.setattr(event_stream, "reconnect_seconds", no_pause)
    refused = [faults.refuse(503, "unavailable", retry_after="0")] * 3
    gateway.fail(ROUTE, *refused, streaming(line(5, "notification")), *refused[:2], streaming(line(6, "notification")))
    async with PayFlow(gateway.url, email=ALICE["email"], password=PASSWORD, limits=QUICK) as client:
        async with asyncio.timeout(20):
            async for event in client.events():
                if event.id == 6:
                    break

    assert [0, 1, 2, 0, 1, 2] == failures
