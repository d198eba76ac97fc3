"""The rules of the ledger against a naive model: one transfer at a time, plain integers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.money import BALANCE_MAX, EXTERNAL_BALANCE_MAX
from services.wallet import ledger
from services.wallet.ledger import Account, Outcome, Posting

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNTS = [UUID(int=number) for number in range(1, 7)]
EXTERNAL = ACCOUNTS[0]
LIMIT = 9_007_199_254_740_991
EXTERNAL_LIMIT = 9 * 10**18

accounts_strategy = st.tuples(
    *(
        st.builds(
            Account,
            id=st.just(id_),
            external=st.just(id_ == EXTERNAL),
            currency=st.sampled_from(["USD", "USD", "USD", "EUR"]),
            frozen=st.sampled_from([False] * 7 + [True]),
            posted=st.one_of(*[st.integers(0, 300)] * 3, st.integers(LIMIT - 300, LIMIT))
            if id_ != EXTERNAL
            else st.one_of(*[st.integers(-1000, 0)] * 3, st.integers(-EXTERNAL_LIMIT, 300 - EXTERNAL_LIMIT)),
            held=st.integers(0, 60) if id_ != EXTERNAL else st.just(0),
            seq=st.integers(0, 5),
        )
        for id_ in ACCOUNTS
    )
)
postings_strategy = st.lists(
    st.builds(
        Posting,
        transfer_id=st.integers(1, 25).map(lambda number: UUID(int=1000 + number)),
        source_id=st.sampled_from([*ACCOUNTS, UUID(int=99)]),
        destination_id=st.sampled_from([*ACCOUNTS, UUID(int=98)]),
        amount=st.integers(1, 200),
        currency=st.sampled_from(["USD", "USD", "USD", "EUR"]),
        expires_at=st.sampled_from([NOW + timedelta(seconds=60)] * 9 + [NOW - timedelta(seconds=1)]),
        description=st.none(),
        request_hash=st.sampled_from([b"a"] * 9 + [b"b"]),
    ).filter(lambda posting: posting.source_id != posting.destination_id),
    max_size=40,
)


def naive(accounts: dict[UUID, Account], balances: dict[UUID, int], posting: Posting) -> tuple[str, str | None]:
    """The expected outcome of one transfer; it moves the money in `balances`."""
    if posting.expires_at < NOW:
        return "voided", "timed_out"
    if posting.source_id not in accounts or posting.destination_id not in accounts:
        return "rejected", "wallet_not_found"
    source, destination = accounts[posting.source_id], accounts[posting.destination_id]
    if {source.currency, destination.currency} != {posting.currency}:
        return "rejected", "currency_mismatch"
    if source.frozen or destination.frozen:
        return "rejected", "wallet_frozen"
    if not source.external and balances[source.id] - source.held - posting.amount < 0:
        return "rejected", "insufficient_funds"
    fits = destination.external or balances[destination.id] + posting.amount <= LIMIT
    fits = fits and balances[source.id] - posting.amount >= -EXTERNAL_LIMIT
    if fits:
        balances[source.id] -= posting.amount
        balances[destination.id] += posting.amount
    return ("posted", None) if fits else ("rejected", "balance_limit")


@settings(max_examples=400, deadline=None)
@given(accounts_strategy, postings_strategy, st.data())
def test_a_batch_is_the_same_as_one_after_another(
    accounts: tuple[Account, ...], postings: list[Posting], data: st.DataObject
) -> None:
    """Results, balances and seqs of a batch equal those of a model that processes the transfers one by one, repeats included."""
    by_id = {account.id: account for account in accounts}
    balances = {account.id: account.posted for account in accounts}
    recorded = {}
    for posting in data.draw(st.lists(st.sampled_from(postings), max_size=3)) if postings else []:
        recorded[posting.transfer_id] = Outcome(
            posting.transfer_id, "voided", "cancelled", posting.request_hash, None, None, None, None, None, NOW
        )
    known: dict[UUID, tuple[bytes, str, str | None]] = {
        id_: (outcome.request_hash, "voided", "cancelled") for id_, outcome in recorded.items()
    }
    expected = []
    for posting in postings:
        if posting.transfer_id not in known:
            known[posting.transfer_id] = (posting.request_hash, *naive(by_id, balances, posting))
        request_hash, outcome, reason = known[posting.transfer_id]
        expected.append((outcome, reason) if request_hash == posting.request_hash else ("conflict", None))

    decision = ledger.decide(accounts, postings, recorded, NOW)

    assert expected == [(result.outcome, result.reason) for result in decision.results]
    after = balances_after(accounts, decision)
    assert balances == after
    assert len(known) - len(recorded) == len(decision.outcomes)
    for account in accounts:
        lines = [entry for entry in decision.entries if entry.account_id == account.id]
        assert list(range(account.seq + 1, account.seq + 1 + len(lines))) == [line.seq for line in lines]


def balances_after(accounts: tuple[Account, ...], decision: ledger.Decision) -> dict[UUID, int]:
    """The balances that the decision would write."""
    changed = {state.account.id: state.posted for state in decision.changed}
    return {account.id: changed.get(account.id, account.posted) for account in accounts}


def test_refusals_come_in_their_order() -> None:
    """If several reasons apply, the first in order of precedence is returned."""
    poor = Account(ACCOUNTS[1], False, "EUR", True, 0, 0, 0)
    other = Account(ACCOUNTS[2], False, "USD", True, 0, 0, 0)
    posting = Posting(UUID(int=5), poor.id, other.id, 10, "USD", NOW + timedelta(seconds=1), None, b"a")

    reasons = [
        ledger.decide(accounts, [posting], {}, NOW).results[0].reason
        for accounts in (
            [other],
            [poor, other],
            [poor._replace(currency="USD"), other],
            [poor._replace(currency="USD", frozen=False), other._replace(frozen=False)],
        )
    ]

    assert ["wallet_not_found", "currency_mismatch", "wallet_frozen", "insufficient_funds"] == reasons


def test_a_balance_has_an_upper_limit() -> None:
    """A user's account has at most 2^53 - 1: one more is rejected, also within a batch, and a debit makes room again."""
    rich = Account(ACCOUNTS[1], False, "USD", False, 10**15, 0, 1)
    full = Account(ACCOUNTS[2], False, "USD", False, LIMIT - 5, 0, 1)

    results = posted_in_turn((rich, full), [(rich, full, 5), (rich, full, 1), (full, rich, 1), (rich, full, 1)])

    assert [("posted", None), ("rejected", "balance_limit"), ("posted", None), ("posted", None)] == results
    assert float(LIMIT) == LIMIT
    assert float(LIMIT + 2) != LIMIT + 2


def test_an_external_account_has_an_upper_limit() -> None:
    """The external account of deposits has a much larger limit, below 64 bits."""
    outside = Account(EXTERNAL, True, "USD", False, 3 - EXTERNAL_LIMIT, 0, 1)
    creditor = Account(ACCOUNTS[3], True, "USD", False, EXTERNAL_LIMIT - 3, 0, 1)
    user = Account(ACCOUNTS[1], False, "USD", False, 100, 0, 1)
    moves = [(outside, user, 4), (outside, user, 3), (user, creditor, 4), (user, creditor, 3)]

    results = posted_in_turn((outside, creditor, user), moves)

    assert [("rejected", "balance_limit"), ("posted", None)] * 2 == results


def posted_in_turn(
    accounts: tuple[Account, ...], moves: list[tuple[Account, Account, int]]
) -> list[tuple[str, str | None]]:
    """The results of these moves in one batch."""
    postings = [
        Posting(UUID(int=50 + n), source.id, to.id, amount, "USD", NOW + timedelta(seconds=1), None, b"a")
        for n, (source, to, amount) in enumerate(moves)
    ]
    return [(result.outcome, result.reason) for result in ledger.decide(accounts, postings, {}, NOW).results]


def transfer_of(amount: int, source: Account, destination: Account, **changes: object) -> Posting:
    made = Posting(UUID(int=5), source.id, destination.id, amount, "USD", NOW + timedelta(seconds=1), None, b"a")
    return made._replace(**changes)  # type: ignore[arg-type]


def reason_of(posting: Posting, *accounts: Account) -> str | None:
    return ledger.decide(accounts, [posting], {}, NOW).results[0].reason


WORLD = Account(EXTERNAL, True, "USD", False, 0, 0, 1)
PERSON = Account(ACCOUNTS[1], False, "USD", False, 100, 0, 1)
OTHER = Account(ACCOUNTS[2], False, "USD", False, 0, 0, 0)


@pytest.mark.parametrize(
    ("posted", "reason"), [(BALANCE_MAX - 10, None), (BALANCE_MAX - 9, "balance_limit")], ids=["reached", "passed"]
)
def test_the_upper_limit_can_be_reached(posted: int, reason: str | None) -> None:
    """A balance of exactly the limit is allowed, one minor unit more is not."""
    full = OTHER._replace(posted=posted)

    assert reason == reason_of(transfer_of(10, PERSON, full), PERSON, full)


@pytest.mark.parametrize(
    ("posted", "reason"),
    [(10 - EXTERNAL_BALANCE_MAX, None), (9 - EXTERNAL_BALANCE_MAX, "balance_limit")],
    ids=["reached", "passed"],
)
def test_an_external_account_has_a_lower_limit(posted: int, reason: str | None) -> None:
    """The balance of an external account is limited in both directions."""
    world = WORLD._replace(posted=posted)

    assert reason == reason_of(transfer_of(10, world, PERSON), world, PERSON)


def test_a_hold_cannot_be_spent() -> None:
    """Of 100 with 30 on hold, 70 can be sent, but not 71."""
    holding = PERSON._replace(held=30)

    assert None is reason_of(transfer_of(70, holding, OTHER), holding, OTHER)
    assert "insufficient_funds" == reason_of(transfer_of(71, holding, OTHER), holding, OTHER)


def test_a_transfer_may_be_posted_at_its_very_expiry() -> None:
    """It expires with the next microsecond."""
    in_time = transfer_of(1, PERSON, OTHER, expires_at=NOW)
    late = transfer_of(1, PERSON, OTHER, expires_at=NOW - timedelta(microseconds=1))

    assert [None, "timed_out"] == [reason_of(one, PERSON, OTHER) for one in (in_time, late)]


@pytest.mark.parametrize(
    ("changes", "outcome", "seqs"),
    [
        ({}, "posted", (2, 1)),
        ({"amount": 101}, "rejected", (None, None)),
        ({"expires_at": NOW - timedelta(seconds=1)}, "voided", (None, None)),
    ],
)
def test_an_outcome_holds_the_whole_request(
    changes: dict[str, object], outcome: str, seqs: tuple[int | None, int | None]
) -> None:
    """Every outcome records accounts, description, hash and time of the transfer, and its entries if there are any."""
    posting = transfer_of(1, PERSON, OTHER, description="rent")._replace(**changes)  # type: ignore[arg-type]

    [recorded] = ledger.decide([PERSON, OTHER], [posting], {}, NOW).outcomes

    assert (outcome, posting.request_hash, "rent", NOW) == (
        recorded.outcome, recorded.request_hash, recorded.description, recorded.at,
    )  # fmt: skip
    assert (PERSON.id, OTHER.id, *seqs) == (
        recorded.source_id, recorded.destination_id, recorded.source_seq, recorded.destination_seq,
    )  # fmt: skip
