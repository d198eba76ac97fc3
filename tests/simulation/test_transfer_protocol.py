"""The protocol of one transfer is safe in every interleaving, and unsafe without any one of its guards."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.transaction.transfer import COMPLETED, FAILED, PENDING
from services.wallet import ledger
from tests.simulation import transfer_protocol
from tests.simulation.transfer_protocol import OURS, STUCK, VARIANTS, Bounds, Protocol, Search, State, Variant

NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Steps the search must have taken, or the model lacks something the protocol can do.
STEPS_THAT_MATTER = {
    "a top-up arrives: the sender has enough",
    "the ledger's clock passes the expiry",
    "the relay dies before it marks the row: its lease expires",
    "the broker loses a copy",
    "the broker has a second copy",
    "worker 1 dies",
    "worker 2 is frozen: the broker takes its copy back",
    "worker 1 times out: unknown",
    "worker 1 publishes its copy to the delay queue",
    "worker 2 acknowledges its copy",
    "worker 1 reads posted; it writes COMPLETED and the event",
    "worker 1 reads rejected; it writes FAILED and the event",
    "worker 1 reads voided; the status is FAILED already",
    "worker 2 reads posted; the status is COMPLETED already",
    # The wallet decided `posted`, a void came before its commit: it decides again and returns the void.
    "the wallet, for worker 1, locks the accounts and decides posted",
    "the wallet, for worker 1, commits and returns voided",
    "the wallet, for a late call, finds voided; its caller is gone",
    "the wallet, for a late call, commits posted; its caller is gone",
    "reversal 1 takes it as posted; it writes COMPLETED and the event",
    "reversal 1 takes it as voided; it writes FAILED and the event",
    "reversal 1 takes it as rejected; it writes FAILED and the event",
    "reversal 1 dies with its response",
}


@pytest.fixture(scope="module")
def ours() -> Search:
    """The full search of the real protocol."""
    return transfer_protocol.explore(OURS)


def traces(search: Search) -> list[str]:
    """Each loss with its trace, for the failure message."""
    return [transfer_protocol.describe(loss, trace) for loss, trace in search.losses.items()]


def test_no_interleaving_loses_or_doubles_money(ours: Search) -> None:
    """Two workers, three copies, late calls, two faults, top-ups, the reversal at any moment: no violation."""
    assert [] == traces(ours)
    assert ours.states > 100_000


def test_every_transfer_can_still_end(ours: Search) -> None:
    """From every state a terminal status can be reached without another fault."""
    assert 0 == ours.stuck
    assert ours.states > 100_000


def test_the_search_takes_the_important_steps(ours: Search) -> None:
    """A model that cannot take the steps of the real system proves nothing."""
    assert set() == STEPS_THAT_MATTER - ours.texts


def test_two_reversals_at_once_do_no_harm() -> None:
    """Overlapping sweeps, or a sweep and a sender's cancel, change nothing."""
    search = transfer_protocol.explore(OURS, Bounds(faults_max=1, copies_max=2, late_max=1, reversals=2))

    assert [] == traces(search)
    assert 0 == search.stuck
    assert search.states > 50_000


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_without_a_guard_the_protocol_loses(variant: Variant) -> None:
    """Each weakened protocol has a trace to its loss, and each step of it is possible in the protocol."""
    search = transfer_protocol.explore(variant.guards, sought=variant.losses)

    assert set(variant.losses) == search.losses.keys()
    for loss, trace in search.losses.items():
        print(transfer_protocol.describe(loss, trace))
        states = [State(), *(step.after for step in trace)]
        protocol = Protocol(variant.guards, Bounds())
        assert all(step in protocol.steps(before) for before, step in zip(states, trace, strict=False))
        broken = [transfer_protocol.broken_rule(before, after) for before, after in itertools.pairwise(states)]
        assert [None] * (len(trace) - 1) + [None if loss == STUCK else loss] == broken


def test_every_guard_has_a_variant_without_it() -> None:
    """Every flag of the model is used by a variant."""
    removed = {
        field
        for variant in VARIANTS
        for field, value in variant.guards._asdict().items()
        if value != OURS._asdict()[field]
    }

    assert set(OURS._fields) == removed


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (State(), State(moved=2), transfer_protocol.MOVED_TWICE),
        (State(), State(status=FAILED, events=1, moved=1), transfer_protocol.FAILED_BUT_MOVED),
        (State(), State(status=COMPLETED, events=1), transfer_protocol.COMPLETED_BUT_NOT_MOVED),
        (State(status=FAILED), State(status=COMPLETED, events=1, moved=1), transfer_protocol.STATUS_CHANGED),
        (State(status=FAILED), State(status=PENDING), transfer_protocol.STATUS_CHANGED),
        (State(), State(status=COMPLETED, events=2, moved=1), transfer_protocol.NOT_ONE_EVENT),
        (State(), State(status=COMPLETED, events=0, moved=1), transfer_protocol.NOT_ONE_EVENT),
        (State(), State(status=PENDING, events=1), transfer_protocol.NOT_ONE_EVENT),
        (State(), State(status=COMPLETED, events=1, moved=1), None),
        (State(), State(status=FAILED, events=1), None),
        (State(), State(moved=1), None),
    ],
)
def test_each_rule_can_be_broken(before: State, after: State, rule: str | None) -> None:
    """The check names the violated rule, or none."""
    assert rule == transfer_protocol.broken_rule(before, after)


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("funds", [False, True])
@pytest.mark.parametrize("recorded", [None, ledger.POSTED, ledger.REJECTED, ledger.VOIDED])
def test_the_model_decides_as_the_ledger_does(*, expired: bool, funds: bool, recorded: str | None) -> None:
    """The model's wallet and the real ledger decide alike, and move money in the same cases."""
    transfer_id, source_id, destination_id = UUID(int=1), UUID(int=2), UUID(int=3)
    expires_at = NOW + timedelta(seconds=-1 if expired else 1)
    posting = ledger.Posting(transfer_id, source_id, destination_id, 100, "USD", expires_at, None, b"hash")
    accounts = [
        ledger.Account(source_id, False, "USD", False, 100 if funds else 99, 0, 0),
        ledger.Account(destination_id, False, "USD", False, 0, 0, 0),
    ]
    outcomes = {}
    if recorded is not None:
        outcomes[transfer_id] = ledger.Outcome(
            transfer_id, recorded, None, b"hash", source_id, destination_id, None, None, None, NOW
        )

    decision = ledger.decide(accounts, [posting], outcomes, NOW)

    expected = recorded or transfer_protocol.decide(expired=expired, funds=funds)
    assert [expected] == [answer.outcome for answer in decision.results]
    assert (recorded is None) == bool(decision.outcomes)
    assert (recorded is None and expected == ledger.POSTED) == bool(decision.entries)


def test_the_command_shows_the_trace_to_a_loss(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per step, the violated rule last."""
    transfer_protocol.main(["reversal-blind"])

    shown = capsys.readouterr().out
    assert "   1  " in shown
    assert "=>  FAILED, but the money moved" in shown
