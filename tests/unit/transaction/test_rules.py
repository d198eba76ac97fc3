"""The pure rules of the transaction service: zones, affordability, visibility and progress."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.contracts.messages import format_time
from services.transaction import affordability, backlog, queue_zone, steps
from services.transaction.affordability import KnownBalances
from services.transaction.transfer import Transfer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALICE, BOB, CAROL = (UUID(int=number) for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("transfers", "oldest", "zone"),
    [
        (0, 0, "normal"),
        (49, 100, "normal"),
        (50, 0, "busy"),
        (199, 100, "busy"),
        (200, 5.0, "busy"),
        (200, 5.1, "delayed"),
        (100_000, 1, "busy"),
    ],
)
def test_queue_is_delayed_only_when_deep_and_old(transfers: int, oldest: float, zone: str) -> None:
    """Guarantee 64, in part: depth alone is busy; delayed also requires an oldest transfer of more than five seconds."""
    assert zone == queue_zone.zone(transfers, oldest)


def test_undecided_transfers_reduce_what_can_be_spent() -> None:
    """Only pending transfers without an outcome count: the others are already in the balance."""
    pending = {ALICE: 30, BOB: 50}

    assert 20 == affordability.spendable(100, pending, [])
    assert 50 == affordability.spendable(100, pending, [ALICE])


def test_unknown_balance_covers_nothing() -> None:
    """An unknown wallet covers nothing; a known one covers what is left of the stored balance."""
    known = KnownBalances(wallets_max=2)
    known.learn(ALICE, 100)
    known.spend(ALICE, 60)
    known.spend(BOB, 60)

    assert known.covers(ALICE, 40)
    assert not known.covers(ALICE, 41)
    assert not known.covers(BOB, 1)
    known.learn(BOB, 5)
    known.learn(CAROL, 5)
    assert not known.covers(ALICE, 1)


def test_oldest_balance_is_evicted_first() -> None:
    """A balance that was read again stays; the one read longest ago is evicted. A removed balance covers nothing."""
    known = KnownBalances(wallets_max=2)
    known.learn(ALICE, 10)
    known.learn(BOB, 20)
    known.learn(ALICE, 30)
    known.learn(CAROL, 40)
    covered = [known.covers(ALICE, 30), known.covers(BOB, 1), known.covers(CAROL, 40)]
    known.forget(ALICE)

    assert [True, False, True] == covered
    assert not known.covers(ALICE, 1)


def transfer(status: str) -> Transfer:
    done = NOW if status != "PENDING" else None
    return Transfer(
        id=UUID(int=9),
        user_id=ALICE,
        recipient_id=BOB,
        kind="transfer",
        status=status,
        amount=1,
        currency="USD",
        from_wallet_id=UUID(int=11),
        to_wallet_id=UUID(int=12),
        description=None,
        metadata={"order": "7"},
        request_hash=b"",
        created_at=NOW,
        expires_at=NOW + timedelta(seconds=60),
        completed_at=done if status == "COMPLETED" else None,
        failed_at=done if status == "FAILED" else None,
        failure_code="cancelled" if status == "FAILED" else None,
    )


@pytest.mark.parametrize("status", ["PENDING", "COMPLETED", "FAILED"])
def test_visibility_of_a_transfer(status: str) -> None:
    """The sender sees it in any state; the recipient when completed, without the sender's metadata; others never."""
    one = transfer(status)
    seen = one.visible_to(BOB)

    assert one == one.visible_to(ALICE)
    assert (seen is not None) == (status == "COMPLETED")
    assert seen is None or seen.metadata is None
    assert one.visible_to(CAROL) is None


def row(**changes: Any) -> dict[str, Any]:
    """The columns of `find_steps` for a transfer that was just accepted."""
    return {
        "created_at": NOW,
        "expires_at": NOW + timedelta(seconds=60),
        "completed_at": None,
        "failed_at": None,
        "failure_code": None,
        "status": "PENDING",
        "attempts": "[]",
        "conflicted_at": None,
        "in_outbox": True,
        "published_at": None,
        "dead_letters": "[]",
        "now": NOW + timedelta(seconds=3),
    } | changes


ATTEMPT = json.dumps(
    [
        {
            "number": 1,
            "worker": "w1",
            "redelivered": False,
            "queued_at": "2026-01-01T00:00:00.100000Z",
            "picked_up_at": "2026-01-01T00:00:00.200000Z",
        }
    ]
)


@pytest.mark.parametrize(
    ("changes", "relay_failing", "waiting_for", "names"),
    [
        ({}, None, "relay", ["accepted"]),
        ({}, "away", "broker", ["accepted"]),
        ({"published_at": NOW + timedelta(milliseconds=100)}, None, "worker", ["accepted", "queued"]),
        ({"attempts": ATTEMPT}, None, "wallet", ["accepted", "queued", "picked_up"]),
        ({"now": NOW + timedelta(seconds=61)}, None, "reversal", ["accepted"]),
        (
            {"status": "COMPLETED", "completed_at": NOW + timedelta(seconds=1), "attempts": ATTEMPT},
            None,
            None,
            ["accepted", "queued", "picked_up", "completed"],
        ),
        (
            {"status": "FAILED", "failed_at": NOW + timedelta(seconds=61), "failure_code": "timed_out"},
            None,
            None,
            ["accepted", "failed"],
        ),
    ],
)
def test_progress_names_what_the_transfer_waits_for(
    changes: dict[str, Any], relay_failing: str | None, waiting_for: str | None, names: list[str]
) -> None:
    """At each hop the progress names the component that has to act, in time order, with a sentence for the customer."""
    heartbeats: dict[str, dict[str, Any]] = {
        "relay-1": {"role": "relay", "failing": relay_failing, "age_seconds": 0.5},
        "worker-1": {"role": "worker", "wallet_unavailable": False, "age_seconds": 0.5},
    }

    progress = steps.describe(row(**changes), heartbeats)

    assert waiting_for == progress.waiting_for
    assert names == [step["step"] for step in progress.steps]
    assert sorted(step["at"] for step in progress.steps) == [step["at"] for step in progress.steps]
    assert progress.summary


@pytest.mark.parametrize(("leader_failing", "waiting_for"), [("timeout", "broker"), (None, "relay")])
def test_a_relay_that_stands_by_says_nothing_about_the_broker(leader_failing: str | None, waiting_for: str) -> None:
    """Only the relay that publishes counts, whatever another one last saw."""
    failing = "unavailable" if leader_failing is None else None
    heartbeats: dict[str, dict[str, Any]] = {
        "relay-1": {"role": "relay", "failing": leader_failing, "leads": True, "age_seconds": 0.5},
        "relay-2": {"role": "relay", "failing": failing, "leads": False, "age_seconds": 0.5},
    }

    assert waiting_for == steps.describe(row(), heartbeats).waiting_for


@pytest.mark.parametrize(
    ("worker", "waiting_for"),
    [
        ({"wallet_unavailable": True, "age_seconds": 0.5}, "wallet"),
        ({"wallet_unavailable": False, "age_seconds": 0.5}, "worker"),
        ({"wallet_unavailable": True, "age_seconds": 60.0}, "worker"),
    ],
)
def test_queued_transfer_waits_for_the_wallet_if_all_workers_do(worker: dict[str, Any], waiting_for: str) -> None:
    """A queued transfer that no worker has picked up waits for the wallet if every live worker does, else for a worker."""
    queued = row(published_at=NOW + timedelta(milliseconds=100))

    progress = steps.describe(queued, {"worker-1": {"role": "worker"} | worker})

    assert waiting_for == progress.waiting_for


@pytest.mark.parametrize(
    ("changes", "refuses"),
    [
        ({}, True),
        ({"transfers": 10_000}, False),
        ({"drain_per_s": 0.0}, False),
        ({"depths": None}, False),
        ({"age_seconds": 60.0}, False),
        ({"transfers": 900, "drain_per_s": 1.0}, False),
    ],
)
def test_too_much_work_ahead_refuses_new_requests(changes: dict[str, Any], refuses: bool) -> None:
    """Only a measured rate that is too low refuses; an unavailable broker never does."""
    monitor = {"age_seconds": 0.5, "transfers": 50_000, "drain_per_s": 1000.0, "depths": {}} | changes

    busy = backlog.evaluate({"monitor": monitor}, seconds_max=20)

    assert refuses == (busy is not None)
    assert busy is None or 1 <= int(busy.headers["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"transfers": 1000, "drain_per_s": 10.0}, 81),
        ({"transfers": 999, "drain_per_s": 1.0}, None),
        ({"transfers": 2000, "drain_per_s": 100.0}, None),
        ({"transfers": 2001, "drain_per_s": 100.0}, 1),
        ({"transfers": 3050, "drain_per_s": 100.0}, 11),
        ({"transfers": 2001, "drain_per_s": 100.0, "age_seconds": 5.0}, 1),
        ({"transfers": 2001, "drain_per_s": 100.0, "age_seconds": 5.1}, None),
    ],
)
def test_retry_after_is_the_excess_work(changes: dict[str, Any], seconds: int | None) -> None:
    """From a thousand transfers: the time by which the work exceeds the limit, a minute at most; old figures do not count."""
    monitor = {"age_seconds": 0.5, "depths": {}} | changes

    busy = backlog.evaluate({"monitor": monitor}, seconds_max=20)

    assert (None if seconds is None else str(min(60, seconds))) == (busy and busy.headers["Retry-After"])


def test_final_by_is_half_a_minute_after_expiry() -> None:
    """The sentence for the customer and the field of the API name the same time."""
    one = transfer("PENDING")

    assert one.final_by == NOW + timedelta(seconds=90)
    assert format_time(one.final_by) in steps.describe(row(published_at=NOW), {}).summary


@pytest.mark.parametrize(("age", "waiting_for"), [(4.9, "wallet"), (5.0, "worker")])
def test_heartbeat_counts_for_five_seconds(age: float, waiting_for: str) -> None:
    """The state of an older heartbeat does not count."""
    queued = row(published_at=NOW + timedelta(milliseconds=100))
    heartbeats = {"worker-1": {"role": "worker", "wallet_unavailable": True, "age_seconds": age}}

    assert waiting_for == steps.describe(queued, heartbeats).waiting_for


def dead_letter(**changes: Any) -> str:
    """A dead letter of a transfer, as the database returns it."""
    fields = {
        "state": "waiting",
        "attempts": 8,
        "at": "2026-01-01T00:00:02.5",
        "replayed_at": None,
        "discarded_at": None,
    }
    return json.dumps([fields | changes])


@pytest.mark.parametrize(
    ("changes", "waiting_for", "phrase"),
    [
        ({"dead_letters": dead_letter()}, "reversal", "our team can retry it"),
        ({"dead_letters": dead_letter(), "now": NOW + timedelta(seconds=70)}, "reversal", "took too long"),
        ({"dead_letters": dead_letter(), "conflicted_at": NOW}, None, "reviewing"),
        (
            {"dead_letters": dead_letter(state="replayed", replayed_at="2026-01-01T00:00:02.9")},
            "worker",
            "in progress",
        ),
    ],
)
def test_progress_of_a_dead_lettered_command(changes: dict[str, Any], waiting_for: str | None, phrase: str) -> None:
    """Guarantee 67: a dead letter is a step of its transfer; only the reversal acts next, until it is replayed."""
    progress = steps.describe(row(published_at=NOW, **changes), {})

    assert waiting_for == progress.waiting_for
    assert phrase in progress.summary
    [first, *later] = [step for step in progress.steps if step["step"] in ("dead_lettered", "replayed")]
    assert ("2026-01-01T00:00:02.500000Z", True) == (first["at"], "after attempt 8" in first["detail"])
    assert ["replayed"] * (waiting_for == "worker") == [step["step"] for step in later]
