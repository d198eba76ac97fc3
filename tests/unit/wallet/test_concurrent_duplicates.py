"""The same transfer twice in one batch."""

from __future__ import annotations

from datetime import UTC, datetime

from services.contracts.identifiers import new_id
from services.wallet import ledger
from services.wallet.ledger import Account
from tests.harness.ledgers import posting


def test_an_id_that_occurs_twice_in_a_batch_is_decided_once() -> None:
    """Guarantee 16b: one outcome and two entries, and the same result for both."""
    alice, bob = (
        Account(new_id(), external=False, currency="USD", frozen=False, posted=100, held=0, seq=1) for _ in "ab"
    )
    duplicate = posting(alice.id, bob.id, 60)

    decision = ledger.decide([alice, bob], [duplicate, duplicate], {}, datetime.now(UTC))

    assert (1, 2) == (len(decision.outcomes), len(decision.entries))
    assert ["posted", "posted"] == [result.outcome for result in decision.results]
