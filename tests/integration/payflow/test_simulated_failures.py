"""Which request of the client has the header of a simulated failure."""

from __future__ import annotations

from typing import Any

import pytest

from payflow.client import PayFlow

HEADER = "PayFlow-Simulate"
POST = "POST /transfers"


def words(gateway: Any, route: str) -> list[str | None]:
    return [request.headers.get(HEADER) for request in gateway.seen(route)]


async def test_only_the_first_attempt_carries_it(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """Retries and later requests do not have it, inside of the block or after it."""
    gateway.fail(POST, faults.cut(after=True))
    with alice.simulate("response-lost"):
        await alice.send(amount=5, currency="USD", to_wallet_id="w")
        await alice.send(amount=6, currency="USD", to_wallet_id="w")
    await alice.send(amount=7, currency="USD", to_wallet_id="w")

    assert ["response-lost", None, None, None] == words(gateway, POST)
    assert 3 == len(gateway.transfers)


async def test_a_renewed_session_does_not_use_it_up(gateway: Any, alice: PayFlow) -> None:
    """A request whose token was refused did not fail on purpose: the one after the refresh has the header too."""
    await alice.send(amount=5, currency="USD", to_wallet_id="w")
    gateway.access.clear()
    with alice.simulate("slow"):
        await alice.send(amount=6, currency="USD", to_wallet_id="w")

    assert [None, "slow", "slow"] == words(gateway, POST)
    assert not any(HEADER in request.headers for request in gateway.seen("POST /auth/refresh"))


async def test_a_block_that_fails_leaves_nothing(gateway: Any, alice: PayFlow) -> None:
    """A failure that was not used ends with its block."""
    with pytest.raises(RuntimeError), alice.simulate("slow"):
        raise RuntimeError
    await alice.send(amount=5, currency="USD", to_wallet_id="w")

    assert [None] == words(gateway, POST)
