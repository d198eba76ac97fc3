"""Sending money exactly once over a network that loses responses."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from payflow import new_key
from payflow.client import PayFlow
from payflow.errors import GatewayUnreachable, OutcomeUnknown, Problem, SessionEnded, UnexpectedResponse
from payflow.limits import Limits
from payflow.session import MemorySessionStore, Session, User

POST = "POST /transfers"
LOOK_UP = "GET /transfers"
PAYMENT: dict[str, Any] = {"amount": 1050, "currency": "USD", "to_email": "bob@example.com"}
ALICE_EMAIL = "alice@example.com"


async def test_generates_a_key(gateway: Any, alice: PayFlow) -> None:
    """Without a key from the caller, each send generates one, which the transfer has."""
    first = await alice.send(**PAYMENT)
    second = await alice.send(**PAYMENT)

    assert first.idempotency_key == gateway.seen(POST)[0].key
    assert second.idempotency_key == gateway.seen(POST)[1].key
    assert first.idempotency_key != second.idempotency_key
    assert first.id != second.id


async def test_uses_the_callers_key(gateway: Any, alice: PayFlow) -> None:
    """A key of the caller is sent as it is."""
    key = new_key()

    transfer = await alice.send(**PAYMENT, idempotency_key=key)

    assert gateway.seen(POST)[0].key == key
    assert transfer.idempotency_key == key


async def test_sends_only_given_fields(gateway: Any, alice: PayFlow) -> None:
    """Fields without a value are omitted; the amount is an integer."""
    await alice.send(amount=5, currency="USD", to_wallet_id="w", description="tea", metadata={"order": 7})

    assert gateway.seen(POST)[0].body == {
        "amount": 5,
        "currency": "USD",
        "to": {"wallet_id": "w"},
        "description": "tea",
        "metadata": {"order": 7},
    }


async def test_needs_exactly_one_recipient(alice: PayFlow) -> None:
    """Both kinds of recipient, or none, raise TypeError."""
    with pytest.raises(TypeError):
        await alice.send(amount=1, currency="USD")
    with pytest.raises(TypeError):
        await alice.send(amount=1, currency="USD", to_email="bob@example.com", to_wallet_id="w")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (502, "bad_gateway"),
        (503, "unavailable"),
        (504, "outcome_unknown"),
        (429, "rate_limited"),
        (409, "idempotency_key_in_use"),
    ],
)
async def test_retries_with_the_same_key(gateway: Any, faults: Any, alice: PayFlow, status: int, code: str) -> None:
    """After a transient refusal the same key, body and request id are sent again, and create one transfer."""
    gateway.fail(POST, *[faults.refuse(status, code, retry_after="0")] * 3)

    transfer = await alice.send(**PAYMENT)

    sent = gateway.seen(POST)
    assert len(sent) == 4
    assert {request.key for request in sent} == {transfer.idempotency_key}
    assert {request.headers["X-Request-Id"] for request in sent} == {sent[0].headers["X-Request-Id"]}
    assert all(request.body == sent[0].body for request in sent)
    assert list(gateway.transfers) == [transfer.id]


async def test_retries_after_a_broken_connection(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A request that did not arrive is sent again with the same key."""
    gateway.fail(POST, faults.cut(after=False), faults.cut(after=False))

    transfer = await alice.send(**PAYMENT)

    assert {request.key for request in gateway.seen(POST)} == {transfer.idempotency_key}
    assert not transfer.replayed


async def test_lost_response_is_replayed(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """If the response is lost after the commit, the retry returns the first transfer, and there is only one."""
    gateway.fail(POST, faults.cut(after=True))

    transfer = await alice.send(**PAYMENT)

    assert list(gateway.transfers) == [transfer.id]
    assert transfer.replayed
    assert transfer.is_completed


async def test_timeout_is_retried(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A request without a response in time is sent again."""
    gateway.fail(POST, faults.hang(gateway.released))

    transfer = await alice.send(**PAYMENT, wait_seconds=0)

    assert len(gateway.seen(POST)) == 2
    assert list(gateway.transfers) == [transfer.id]


async def test_honours_retry_after(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """The pause is the `Retry-After`, not the shorter backoff."""
    gateway.fail(POST, faults.refuse(429, "rate_limited", retry_after="1"))
    await alice.find_by_key("log-in")
    began_at = time.monotonic()

    await alice.send(**PAYMENT, wait_seconds=0)

    assert 1.0 <= time.monotonic() - began_at
    assert len(gateway.seen(POST)) == 2


async def test_too_long_a_pause_raises_at_once(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A `Retry-After` beyond the limits of the client raises the problem."""
    gateway.fail(POST, faults.refuse(429, "rate_limited", retry_after="60"))

    with pytest.raises(Problem) as caught:
        await alice.send(**PAYMENT)

    assert caught.value.retry_after_seconds == 60
    assert len(gateway.seen(POST)) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(422, "insufficient_funds"), (400, "idempotency_key_invalid"), (409, "email_taken")]
)
async def test_refusal_is_final(gateway: Any, faults: Any, alice: PayFlow, status: int, code: str) -> None:
    """A permanent refusal is not retried."""
    gateway.fail(POST, faults.refuse(status, code, detail="No."))

    with pytest.raises(Problem) as caught:
        await alice.send(**PAYMENT)

    assert (caught.value.status, caught.value.code, caught.value.detail) == (status, code, "No.")
    assert caught.value.request_id == "request-of-the-gateway"
    assert len(gateway.seen(POST)) == 1
    assert gateway.seen(LOOK_UP) == []


async def test_lost_response_is_found_by_key(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """If every retry fails too, the transfer is looked up by its key, and waited for."""
    gateway.fail(POST, faults.cut(after=True))
    gateway.always[POST] = faults.refuse(503, "backlog", retry_after="0")

    transfer = await alice.send(**PAYMENT)

    assert list(gateway.transfers) == [transfer.id]
    assert transfer.is_completed
    assert gateway.seen(LOOK_UP)[0].query["idempotency_key"] == transfer.idempotency_key


async def test_unknown_outcome_carries_the_key(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """Without any response the outcome is unknown, not failed; with the key it can be looked up, and sent again."""
    gateway.always[POST] = faults.cut(after=False)

    with pytest.raises(OutcomeUnknown) as caught:
        await alice.send(**PAYMENT)

    key = caught.value.key
    sent = gateway.seen(POST)
    assert {request.key for request in sent} == {key}
    assert len(sent) == 6
    assert caught.value.request_id == sent[0].headers["X-Request-Id"]
    assert key in str(caught.value)
    assert await alice.find_by_key(key) is None

    del gateway.always[POST]
    transfer = await alice.send(**PAYMENT, idempotency_key=key)

    found = await alice.find_by_key(key)
    assert found is not None
    assert (found.id, found.idempotency_key) == (transfer.id, key)


async def test_fault_of_the_gateway_is_unknown(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """After a 500 the outcome is unknown: no retry, a look-up, and OutcomeUnknown if nothing is found."""
    gateway.fail(POST, faults.refuse(500, "internal_error"))

    with pytest.raises(OutcomeUnknown) as caught:
        await alice.send(**PAYMENT)

    assert isinstance(caught.value.__cause__, Problem)
    assert len(gateway.seen(POST)) == 1


async def test_refusal_after_a_lost_response_is_unknown(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A refused retry does not prove that the first attempt had no effect."""
    gateway.fail(POST, faults.cut(after=False), faults.refuse(422, "insufficient_funds"))

    with pytest.raises(OutcomeUnknown) as caught:
        await alice.send(**PAYMENT)

    assert isinstance(caught.value.__cause__, Problem)
    assert caught.value.__cause__.code == "insufficient_funds"


async def test_another_transfer_under_the_key_is_not_used(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A transfer of another amount under the same key is not returned."""
    key = new_key()
    await alice.send(**PAYMENT, idempotency_key=key)
    gateway.always[POST] = faults.refuse(503, "unavailable", retry_after="0")

    with pytest.raises(OutcomeUnknown):
        await alice.send(**{**PAYMENT, "amount": 9999}, idempotency_key=key)


async def test_reused_key_is_reported(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """`idempotency_key_reused` reaches the caller, even after a lost response."""
    gateway.fail(POST, faults.cut(after=False), faults.refuse(422, "idempotency_key_reused"))

    with pytest.raises(Problem) as caught:
        await alice.send(**PAYMENT)

    assert caught.value.code == "idempotency_key_reused"


async def test_never_sent_is_not_unknown(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """If the gateway refused every attempt, its problem is raised."""
    gateway.always[POST] = faults.refuse(429, "rate_limited", retry_after="0")

    with pytest.raises(Problem) as caught:
        await alice.send(**PAYMENT)

    assert caught.value.code == "rate_limited"
    assert len(gateway.seen(POST)) == 6


async def test_login_that_fails_is_not_unknown(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """If the login fails in any way, no transfer was sent, and the outcome is not unknown."""
    gateway.always["POST /auth/login"] = faults.refuse(503, "unavailable", retry_after="0")

    with pytest.raises(Problem) as caught:
        await alice.send(**PAYMENT)

    assert caught.value.code == "unavailable"
    assert gateway.seen(POST) == []


async def test_no_gateway(closed_port: int) -> None:
    """Without a gateway nothing was sent: GatewayUnreachable after bounded attempts, not an unknown outcome."""
    session_store = MemorySessionStore()
    user = User("1", ALICE_EMAIL, "Alice", "user")
    session_store.save(Session(user=user, access_token="a", refresh_token="r", renew_at=time.time() + 60))
    limits = Limits(attempts_max=3, backoff_seconds_min=0.01, backoff_seconds_max=0.01)
    async with PayFlow(f"http://127.0.0.1:{closed_port}", session_store=session_store, limits=limits) as client:
        with pytest.raises(GatewayUnreachable, match="connection refused"):
            await client.send(**PAYMENT)


async def test_foreign_response_is_unknown(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A page of a proxy instead of JSON leaves the outcome unknown."""
    gateway.fail(POST, faults.respond("<h1>Welcome</h1>"))

    with pytest.raises(OutcomeUnknown) as caught:
        await alice.send(**PAYMENT)

    assert isinstance(caught.value.__cause__, UnexpectedResponse)


async def test_prefers_to_wait(gateway: Any, alice: PayFlow) -> None:
    """`Prefer: wait` has the wait, at most the gateway's maximum; the outcome needs no poll."""
    gateway.keeps_preference = True

    transfer = await alice.send(**PAYMENT, wait_seconds=90)

    assert gateway.seen(POST)[0].headers["Prefer"] == "wait=30"
    assert transfer.is_completed
    assert gateway.seen(f"GET /transfers/{transfer.id}") == []


async def test_polls_until_finalized(gateway: Any, alice: PayFlow) -> None:
    """A transfer that is still PENDING in the response is polled until it has its outcome."""
    gateway.polls_until_final = 3

    transfer = await alice.send(**PAYMENT)

    assert transfer.is_completed
    assert transfer.completed_at is not None
    assert transfer.idempotency_key == gateway.seen(POST)[0].key
    assert len(gateway.seen(f"GET /transfers/{transfer.id}")) == 4


async def test_wait_is_bounded(gateway: Any, alice: PayFlow) -> None:
    """A transfer without an outcome is returned as PENDING after the wait."""
    gateway.polls_until_final = 10**6
    began_at = time.monotonic()

    transfer = await alice.send(**PAYMENT, wait_seconds=0.4)

    assert 0.4 <= time.monotonic() - began_at < 20
    assert transfer.status == "PENDING"


async def test_no_wait(gateway: Any, alice: PayFlow) -> None:
    """A wait of zero sends no preference and does not poll."""
    transfer = await alice.send(**PAYMENT, wait_seconds=0)

    assert transfer.status == "PENDING"
    assert "Prefer" not in gateway.seen(POST)[0].headers
    assert gateway.seen(f"GET /transfers/{transfer.id}") == []


async def test_error_while_waiting_is_no_failure(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """An error while polling an accepted transfer is not raised."""
    transfer = await alice.send(**PAYMENT, wait_seconds=0)
    look = f"GET /transfers/{transfer.id}"
    gateway.fail(look, faults.refuse(503, "unavailable"), faults.cut(after=False), faults.refuse(500, "internal_error"))

    finalized = await alice.wait(transfer, wait_seconds=5)

    assert finalized.is_completed

    gateway.always[look] = faults.hang(gateway.released)
    began_at = time.monotonic()

    assert (await alice.wait(transfer, wait_seconds=0.3)).status == "PENDING"
    assert time.monotonic() - began_at < 20


async def test_expired_token_keeps_the_key(gateway: Any, alice: PayFlow) -> None:
    """An expired token is refreshed, and the request sent again with the same key."""
    await alice.find_by_key("log-in")
    gateway.access.clear()

    transfer = await alice.send(**PAYMENT)

    assert len(gateway.seen("POST /auth/refresh")) == 1
    assert {request.key for request in gateway.seen(POST)} == {transfer.idempotency_key}
    assert list(gateway.transfers) == [transfer.id]


async def test_session_that_ends_after_a_lost_response(gateway: Any, faults: Any) -> None:
    """A lost response followed by the end of the session leaves the outcome unknown, not failed."""
    async with PayFlow(gateway.url) as client:
        await client.login(ALICE_EMAIL, "payflow-demo-1")

        async def cut_and_end(request: Any, handler: Any) -> Any:
            gateway.end_sessions()
            return await faults.cut(after=False)(request, handler)

        gateway.fail(POST, cut_and_end)

        with pytest.raises(OutcomeUnknown) as caught:
            await client.send(**PAYMENT)

    assert isinstance(caught.value.__cause__, SessionEnded)


async def test_many_at_once(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """Fifty concurrent sends over a bad connection create fifty transfers, and need one login."""
    gateway.fail(POST, *[faults.cut(after=True), faults.refuse(503, "unavailable")] * 10)

    transfers = await asyncio.gather(*[alice.send(**PAYMENT) for _ in range(50)])

    assert len({transfer.id for transfer in transfers}) == len(gateway.transfers) == 50
    assert len(gateway.seen("POST /auth/login")) == 1


async def test_deposit(gateway: Any, faults: Any, ops: PayFlow) -> None:
    """An operator's deposit is sent like a transfer: with the same key for all retries, and waited for."""
    gateway.fail("POST /ops/deposits", faults.refuse(503, "unavailable", retry_after="0"), faults.cut(after=True))
    gateway.always["POST /ops/deposits"] = faults.refuse(503, "unavailable", retry_after="0")

    transfer = await ops.operator.deposit(wallet_id="w-1", amount=100_000, currency="USD", reference="wire 7")

    sent = gateway.seen("POST /ops/deposits")
    assert {request.key for request in sent} == {transfer.idempotency_key}
    assert sent[0].body == {"wallet_id": "w-1", "amount": 100_000, "currency": "USD", "reference": "wire 7"}
    assert (transfer.kind, transfer.to_wallet_id, transfer.is_completed) == ("deposit", "w-1", True)
