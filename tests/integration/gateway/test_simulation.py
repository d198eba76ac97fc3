"""Simulated failures: what a client can trigger in demo mode, and that it cannot otherwise."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis as Client

from services.contracts.identifiers import new_id
from tests.harness.stack import ROOT
from tests.integration.gateway.conftest import ApiClient, FakeServices, Open, Response

HEADER = "PayFlow-Simulate"


@pytest.fixture
async def stage(open_client: Open, redis_client: Client) -> AsyncIterator[ApiClient]:
    """A gateway in demo mode."""
    async with open_client(demo=True) as opened:
        yield opened


def items(fakes: FakeServices) -> list[dict[str, Any]]:
    """Every item that the transaction service received."""
    return [item for call in fakes.transaction.calls_to("POST", "/internal/transfers") for item in call.body["items"]]


async def simulate(api: ApiClient, token: str, word: str, key: str, **changes: Any) -> Response:
    return await api.send(token, key, headers={HEADER: word}, **changes)


async def test_a_lost_response_is_found_by_its_key(stage: ApiClient, token: str) -> None:
    """response-lost: the transfer is there, the connection closes; the same key without the header is a replay."""
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await simulate(stage, token, "response-lost", "lost")

    again = await stage.send(token, "lost")

    assert (202, "true") == (again.status, again.headers.get("Idempotent-Replayed"))
    assert 1 == len(stage.fakes.transaction.transfers)


async def test_a_slow_response_follows_the_commit(stage: ApiClient, token: str) -> None:
    """slow=N: the transfer is accepted at once, the response is delayed; so are refusals and GET."""
    started = time.monotonic()
    sending = asyncio.create_task(simulate(stage, token, "slow=1", "slow"))
    refused = asyncio.create_task(simulate(stage, token, "slow=1", "wrong", amount=0))
    reading = asyncio.create_task(stage.call("GET", "/api/v1/auth/me", headers={HEADER: "slow=1"}))
    while not stage.fakes.transaction.transfers:
        assert not sending.done(), "the response came before the transfer was accepted"
        await asyncio.sleep(0.01)

    assert [202, 422, 401] == [(await each).status for each in (sending, refused, reading)]
    assert 1 <= time.monotonic() - started


async def test_shutdown_ends_delayed_responses(open_client: Open, redis_client: Client, token: str) -> None:
    """slow: delayed responses are sent at shutdown."""
    async with open_client(demo=True) as api:
        sending = asyncio.create_task(simulate(api, token, "slow=60", "slow"))
        async with asyncio.timeout(30):
            while not api.fakes.transaction.transfers:
                await asyncio.sleep(0.01)
        api.runtime.stopping.set()
        async with asyncio.timeout(30):
            assert 202 == (await sending).status


@pytest.mark.parametrize(
    ("word", "status", "code"),
    [("unavailable=7", 503, "upstream_unavailable"), ("rate-limited=7", 429, "rate_limited")],
)
async def test_simulated_refusals_do_nothing(stage: ApiClient, token: str, word: str, status: int, code: str) -> None:
    """unavailable, rate-limited: refused with `Retry-After`, and nothing was done."""
    response = await simulate(stage, token, word, "none")

    assert (status, code, "7") == (response.status, response.json()["code"], response.headers["Retry-After"])
    assert [] == items(stage.fakes)


@pytest.mark.parametrize(
    ("word", "status", "code"),
    [("outcome-unknown", 504, "outcome_unknown"), ("in-use", 409, "idempotency_key_in_use")],
)
async def test_simulated_unknown_outcomes_are_accepted(
    stage: ApiClient, token: str, word: str, status: int, code: str
) -> None:
    """outcome-unknown, in-use: despite the response the transfer exists, and the key finds it."""
    response = await simulate(stage, token, word, "unknown")
    again = await stage.send(token, "unknown")

    assert (status, code) == (response.status, response.json()["code"])
    assert (202, "true") == (again.status, again.headers.get("Idempotent-Replayed"))
    assert 1 == len(stage.fakes.transaction.transfers)


@pytest.mark.parametrize(
    ("word", "sent"),
    [
        ("insufficient-funds", {"unchecked": True}),
        ("reversed-late=2", {"delay_seconds": 17, "expires_seconds": 2}),
        ("slow-pending=3", {"delay_seconds": 3}),
    ],
)
async def test_simulations_are_passed_to_the_transaction_service(
    stage: ApiClient, token: str, word: str, sent: dict[str, Any]
) -> None:
    """Failures of the transfer are requested by one field of its item, which no other item has."""
    responses = [await simulate(stage, token, word, "simulated"), await stage.send(token, "ordinary")]
    simulated, ordinary = items(stage.fakes)

    assert [202, 202] == [response.status for response in responses]
    assert sent == simulated["simulation"]
    assert "simulation" not in ordinary


async def test_a_covered_amount_is_refused(stage: ApiClient, token: str, user_id: str) -> None:
    """insufficient-funds: an amount that the wallet covers is refused; a larger one is accepted."""
    stage.fakes.wallet.add(user_id)

    covered = await simulate(stage, token, "insufficient-funds", "covered", amount=900)
    missing = await simulate(stage, token, "insufficient-funds", "missing", amount=901)

    assert (422, ["amount"]) == (covered.status, [error["field"] for error in covered.json()["errors"]])
    assert 202 == missing.status
    assert 1 == len(stage.fakes.transaction.transfers)


@pytest.mark.parametrize(
    "word", ["", "loud", "slow=0", "slow=61", "slow=1.5", "in-use=3", "slow,in-use", "SLOW", "slow=", "response-lost="]
)
async def test_an_unknown_word_is_refused(stage: ApiClient, token: str, word: str) -> None:
    """An unknown word or an invalid number: 422 that names the header and the words; nothing is done."""
    response = await simulate(stage, token, word, "none")
    [error] = response.json()["errors"]

    assert (422, "invalid_request", HEADER) == (response.status, response.json()["code"], error["field"])
    assert "seconds" in error["message"] or "number" in error["message"] or "response-lost, slow" in error["message"]
    assert [] == items(stage.fakes)


async def test_words_depend_on_the_operation(stage: ApiClient, token: str) -> None:
    """Each operation accepts the words that its documented responses allow, and lists them."""
    read = await stage.call("GET", "/api/v1/transfers", token=token, headers={HEADER: "reversed-late"})
    listed = await stage.call("GET", "/api/v1/currencies", headers={HEADER: "unavailable"})

    assert [422, 422] == [read.status, listed.status]
    assert (
        "must be one of these here: response-lost, slow, unavailable, rate-limited, outcome-unknown"
        == read.json()["errors"][0]["message"]
    )
    assert "unavailable" not in listed.json()["errors"][0]["message"]


async def test_simulation_requires_demo_mode(api: ApiClient, token: str, operator_token: str) -> None:
    """Outside demo mode requests that move money refuse the header, others ignore it, and the document omits it."""
    deposit = {"wallet_id": str(new_id()), "amount": 5, "currency": "USD", "reference": "x"}
    headers = {HEADER: "slow", "Idempotency-Key": "none"}

    sent = await simulate(api, token, "response-lost", "none")
    brought = await api.call("POST", "/api/v1/ops/deposits", token=operator_token, json=deposit, headers=headers)
    read = await api.call("GET", "/api/v1/currencies", headers={HEADER: "slow"})
    document = await api.call("GET", "/api/v1/openapi.json")

    assert [422, 422] == [sent.status, brought.status]
    assert ["PayFlow-Simulate"] * 2 == [response.json()["errors"][0]["field"] for response in (sent, brought)]
    assert 200 == read.status
    assert "x-simulation" not in document.json()
    assert [] == items(api.fakes)


async def test_the_document_lists_the_words(stage: ApiClient) -> None:
    """In demo mode the OpenAPI document has the header and its words as an extension."""
    listed = (await stage.call("GET", "/api/v1/openapi.json")).json()["x-simulation"]

    assert HEADER == listed["header"]
    assert {"word": "slow", "seconds": 20, "seconds_max": 60}.items() <= listed["words"][1].items()


def test_the_module_is_loaded_in_demo_mode_only() -> None:
    """Outside demo mode the module is not even loaded."""
    code = "import sys, services.gateway.app; print('services.gateway.simulation' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)

    assert "False" == ran.stdout.strip()
