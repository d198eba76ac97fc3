"""The pure rules of the transaction service: zones, affordability, who sees what, and where a transfer is."""

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
def test_a_queue_is_delayed_only_when_deep_and_old(transfers: int, oldest: float, zone: str) -> None:
    """Guarantee 64, in part: depth alone is busy; delayed needs an oldest transfer of more than five seconds as well."""
    assert zone == queue_zone.zone(transfers, oldest)


def test_undecided_transfers_take_from_what_can_be_spent() -> None:
    """Of the transfers under way only those without an outcome count: the others are in the balance already."""
    pending = {ALICE: 30, BOB: 50}

    assert 20 == affordability.spendable(100, pending, [])
    assert 50 == affordability.spendable(100, pending, [ALICE])


def test_what_is_not_known_is_not_covered() -> None:
    """An unknown wallet covers nothing; a known one covers what is left of what was learnt."""
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


def test_what_was_learnt_long_ago_is_forgotten_first() -> None:
    """A wallet that was asked about again stays; the one that was not for longest goes. What is forgotten covers nothing."""
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
def test_who_may_see_a_transfer(status: str) -> None:
    """The sender sees it in any state; the recipient when completed, without the sender's metadata; others never."""
    one = transfer(status)
    seen = one.seen_by(BOB)

    assert one == one.seen_by(ALICE)
    assert (seen is not None) == (status == "COMPLETED")
    assert seen is None or seen.metadata is None
    assert one.seen_by(CAROL) is None


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
def test_the_way_says_who_has_to_act(
    changes: dict[str, Any], relay_failing: str | None, waiting_for: str | None, names: list[str]
) -> None:
    """Whatever hop a transfer stands at, the way names it, in time order, with a sentence for the customer."""
    beats: dict[str, dict[str, Any]] = {
        "relay-1": {"role": "relay", "failing": relay_failing, "age_seconds": 0.5},
        "worker-1": {"role": "worker", "wallet_unavailable": False, "age_seconds": 0.5},
    }

    way = steps.describe(row(**changes), beats)

    assert waiting_for == way.waiting_for
    assert names == [step["step"] for step in way.steps]
    assert sorted(step["at"] for step in way.steps) == [step["at"] for step in way.steps]
    assert way.summary


@pytest.mark.parametrize(
    ("worker", "waiting_for"),
    [
        ({"wallet_unavailable": True, "age_seconds": 0.5}, "wallet"),
        ({"wallet_unavailable": False, "age_seconds": 0.5}, "worker"),
        ({"wallet_unavailable": True, "age_seconds": 60.0}, "worker"),
    ],
)
def test_behind_a_worker_that_waits_everybody_waits_for_the_wallet(worker: dict[str, Any], waiting_for: str) -> None:
    """A queued transfer nobody has picked up waits for the wallet if every living worker does, else for a worker."""
    queued = row(published_at=NOW + timedelta(milliseconds=100))

    way = steps.describe(queued, {"worker-1": {"role": "worker"} | worker})

    assert waiting_for == way.waiting_for


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
def test_too_much_work_ahead_refuses_early(changes: dict[str, Any], refuses: bool) -> None:
    """Only a measured rate that cannot do the work in time refuses; a broker that is away never does."""
    monitor = {"age_seconds": 0.5, "transfers": 50_000, "drain_per_s": 1000.0, "depths": {}} | changes

    busy = backlog.judge({"monitor": monitor}, seconds_max=20)

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
def test_who_is_refused_comes_back_when_there_is_room(changes: dict[str, Any], seconds: int | None) -> None:
    """From a thousand transfers on: after as long as they take too long, a minute at most; by fresh figures alone."""
    monitor = {"age_seconds": 0.5, "depths": {}} | changes

    busy = backlog.judge({"monitor": monitor}, seconds_max=20)

    assert (None if seconds is None else str(min(60, seconds))) == (busy and busy.headers["Retry-After"])


def test_a_transfer_is_promised_an_end() -> None:
    """The sentence for the customer and the field of the API name the same moment: half a minute after the expiry."""
    one = transfer("PENDING")

    assert one.final_by == NOW + timedelta(seconds=90)
    assert format_time(one.final_by) in steps.describe(row(published_at=NOW), {}).summary


@pytest.mark.parametrize(("age", "waiting_for"), [(4.9, "wallet"), (5.0, "worker")])
def test_a_process_is_believed_for_five_seconds(age: float, waiting_for: str) -> None:
    """What a worker said longer ago does not count."""
    queued = row(published_at=NOW + timedelta(milliseconds=100))
    beats = {"worker-1": {"role": "worker", "wallet_unavailable": True, "age_seconds": age}}

    assert waiting_for == steps.describe(queued, beats).waiting_for


def set_aside(**changes: Any) -> str:
    """One dead letter of a transfer, as the database writes it."""
    letter = {
        "state": "waiting",
        "attempts": 8,
        "at": "2026-01-01T00:00:02.5",
        "replayed_at": None,
        "discarded_at": None,
    }
    return json.dumps([letter | changes])


@pytest.mark.parametrize(
    ("changes", "waiting_for", "said"),
    [
        ({"dead_letters": set_aside()}, "reversal", "a person can look into it"),
        ({"dead_letters": set_aside(), "now": NOW + timedelta(seconds=70)}, "reversal", "took too long"),
        ({"dead_letters": set_aside(), "conflicted_at": NOW}, None, "by hand"),
        (
            {"dead_letters": set_aside(state="replayed", replayed_at="2026-01-01T00:00:02.9")},
            "worker",
            "being worked on",
        ),
    ],
)
def test_a_transfer_whose_command_was_set_aside(changes: dict[str, Any], waiting_for: str | None, said: str) -> None:
    """Guarantee 67: a dead letter is a step of its transfer; nobody but the reversal acts next, until it is replayed."""
    way = steps.describe(row(published_at=NOW, **changes), {})

    assert waiting_for == way.waiting_for
    assert said in way.summary
    [aside, *later] = [step for step in way.steps if step["step"] in ("dead_lettered", "replayed")]
    assert ("2026-01-01T00:00:02.500000Z", True) == (aside["at"], "after attempt 8" in aside["detail"])
    assert ["replayed"] * (waiting_for == "worker") == [step["step"] for step in later]
