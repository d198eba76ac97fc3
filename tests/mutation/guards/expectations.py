"""The guards of expectations: stored once, none from a stale system, and no notification after the outcome."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

EXPECTATION = "services/transaction/expectation.py"
QUERIES = "services/transaction/sql/queries.sql"
COMMANDS = "services/notification/commands_late.py"
SCHEMA = "services/notification/sql/migrations/0017.sql"

EXPECTING = "tests/unit/transaction/test_expectation.py"
LATE = "tests/integration/notification/test_late.py"
POLLING = "tests/integration/notification/test_polling.py"
POLLER = "services/notification/poller.py"
ACCEPTING = "tests/integration/transaction/test_intake.py"

STALE = "    if not _is_published(monitor, heartbeats) or not _is_reversed(heartbeats):\n        return None\n"
STORED = "created_at, expires_at, expected_by\n    FROM unnest"
LOCK = "        last_seqs = await store.advance_counters(connection, counts)\n"
WHY = "        # Under the lock of the feed: the outcome is recorded before this, and then this is skipped, or after it.\n"
LOOK = "        recorded = await store.list_recorded(connection, times)\n"
LATE_LOOK = "        recorded |= await store_late.list_late(connection, list(by_transfer))\n"

MUTANTS = (
    Mutant(
        name="expectation-of-a-stale-system",
        guard="nothing is expected while the broker, a relay or the reversal is unavailable",
        changes=[Change(EXPECTATION, STALE, "")],
        works=f"{EXPECTING}::test_fast_system_has_the_shortest_expectation",
        caught_by=[f"{EXPECTING}::test_nothing_is_expected_of_a_stale_system"],
    ),
    Mutant(
        name="expectation-not-stored",
        guard="the expectation is stored in the accepting commit, so that a replay returns the same",
        changes=[Change(QUERIES, STORED, STORED.replace("expected_by", "NULL"))],
        works=f"{ACCEPTING}::test_a_hundred_concurrent_duplicates_make_one_transfer",
        caught_by=[f"{ACCEPTING}::test_a_replay_has_the_expectation_of_the_accepting_commit"],
    ),
    Mutant(
        name="late-after-the-outcome",
        guard="no sender is notified that a transfer is late once its outcome is recorded",
        changes=[Change(COMMANDS, LOOK, "        recorded: set[UUID] = set()\n")],
        works=f"{LATE}::test_sender_is_notified_once",
        caught_by=[
            f"{LATE}::test_nothing_after_the_outcome",
            f"{POLLING}::test_outcome_between_the_list_and_the_record",
        ],
    ),
    Mutant(
        name="late-read-before-the-lock",
        guard="whether the outcome is recorded is read after the feed was locked",
        changes=[Change(COMMANDS, LOCK + WHY + LOOK, LOOK + LOCK)],
        works=f"{LATE}::test_sender_is_notified_once",
        caught_by=[f"{LATE}::test_waits_for_the_transaction_that_records_the_outcome"],
    ),
    Mutant(
        name="late-notified-again",
        guard="each transfer has one notification that it is late",
        changes=[
            Change(COMMANDS, LATE_LOOK, ""),
            Change(SCHEMA, "    transfer_id uuid        PRIMARY KEY,\n", "    transfer_id uuid        NOT NULL,\n"),
        ],
        works=f"{LATE}::test_late_notification_is_no_outcome",
        caught_by=[
            f"{LATE}::test_sender_is_notified_once",
            f"{POLLING}::test_two_processes_and_a_restart_notify_once",
        ],
    ),
    Mutant(
        name="late-poll-starts-where-it-ended",
        guard="each pass begins a moment before the end of the last: transfers become visible in another order",
        changes=[Change(POLLER, "after - self._source.overlap)", "after)")],
        works=f"{POLLING}::test_two_processes_and_a_restart_notify_once",
        caught_by=[f"{POLLING}::test_late_pending_event_wakes_the_sender"],
    ),
    Mutant(
        name="poll-logged-each-second",
        guard="a poll that fails is logged when that begins and when it ends, not in each pass",
        changes=[Change(POLLER, "        if failure != self._failure:\n", "        if failure:\n")],
        works=f"{POLLING}::test_two_processes_and_a_restart_notify_once",
        caught_by=[f"{POLLING}::test_service_without_the_route_is_logged_once"],
    ),
)
