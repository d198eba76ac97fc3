"""A rolling update: the worker beside a wallet of the release before."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import AwareDatetime, TypeAdapter

from services.chassis import telemetry
from services.transaction.commands import Accepted
from services.wallet import schemas
from services.wallet.ledger import Posting
from tests.harness.services import MoneyPath, accept, request

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class EarlierItem(schemas._Model):
    """A transfer to post, without the field that a later release added."""

    transfer_id: schemas.RowId
    source_id: schemas.RowId
    destination_id: schemas.RowId
    amount: int
    currency: str
    expires_at: AwareDatetime
    description: str | None
    request_hash: schemas.RequestHash
    traceparent: ClassVar[None] = None
    """For the code of this release, which is around it."""

    def posting(self) -> Posting:
        return schemas.PostItem.model_construct(**dict(self)).posting()


class EarlierRequest(schemas._Model):
    """A batch to post."""

    items: list[EarlierItem]


EARLIER = TypeAdapter(EarlierRequest)


class Parents:
    """A recorder of spans that keeps the kinds and the parents of those that begin, and records none."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str | None]] = []

    def begin(self, parent: str | None, *, kind: str, started_ns: int) -> None:  # noqa: ARG002 - the protocol
        self.begun.append((kind, parent))

    def close(self) -> None:
        """Nothing is left to send."""


async def paid(path: MoneyPath) -> str:
    """The status of a new transfer with a trace context."""
    [(alice, _), (_, bob_wallet)] = await path.users([100, 0])
    [done] = await accept(path.intake(), request(alice, bob_wallet, 10, traceparent=TRACE))
    assert isinstance(done, Accepted)
    return (await path.finalized([done.transfer.id]))[done.transfer.id].status


async def test_wallet_that_knows_no_trace_context(path: MoneyPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """With spans on, a wallet of the release before posts the same, without a failed attempt; a newer one gets the context."""
    parents = Parents()
    monkeypatch.setattr(telemetry, "recorder", parents)
    path.start_relay()
    path.start_worker()

    with monkeypatch.context() as earlier:
        earlier.setattr(schemas, "POST", EARLIER)
        assert "COMPLETED" == await paid(path)
    before = parents.begun.count((telemetry.INTERNAL, TRACE))
    assert "COMPLETED" == await paid(path)

    attempts = await path.pool.fetch("SELECT jsonb_array_length(attempts) FROM transfers")
    assert [1, 1] == [row[0] for row in attempts]
    # The span of the decision, which the wallet begins.
    assert (0, 1) == (before, parents.begun.count((telemetry.INTERNAL, TRACE)))
