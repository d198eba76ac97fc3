"""The guards of notifications: each outcome once."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

COMMANDS = "services/notification/commands.py"
FEED = "services/notification/feed.py"
QUERIES = "services/notification/sql/queries.sql"
STORE = "services/notification/store.py"
SCHEMA = "services/notification/sql/migrations/0001.sql"
REMOVALS = "services/notification/sql/queries_retention.sql"
RETENTION_COMMANDS = "services/notification/commands_retention.py"
KEEPING = "services/notification/sql/migrations/0015.sql"
TRIGGER = "services/notification/sql/migrations/0013.sql"

RECORDING = "tests/integration/notification/test_recording.py"
RETENTION = "tests/integration/notification/test_retention.py"
TWO_RELEASES = "tests/integration/notification/test_two_releases.py"
WORKS = f"{RECORDING}::test_both_users"

LOCK = "        last_seqs = await store.advance_counters(connection, feed.count(entries))\n"
LOOK = (
    "        times = {event.transfer_id: event.occurred_at for event in by_transfer.values()}\n"
    "        recorded = await store.list_recorded(connection, times)\n"
    "        if recorded:\n"
)
PENDING_LOOK = (
    "        times = {id_: pending.expires_at for id_, pending in by_transfer.items()}\n"
    "        recorded = await store.list_recorded(connection, times)\n"
)
RETURN = "            last_seqs |= await store.return_numbers(connection, feed.count(copies))\n"

MUTANTS = (
    Mutant(
        name="copies-not-recognized",
        guard="a copy of an event is recognized by the notifications that exist",
        changes=[
            Change(COMMANDS, LOOK, "        recorded: set[UUID] = set()\n        if recorded:\n"),
            Change(
                SCHEMA,
                "    CONSTRAINT notices_told_once UNIQUE (transfer_id, user_id, kind)\n",
                "    CONSTRAINT notices_told_once CHECK (true)\n",
            ),
        ],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_repeat"],
        faults=("rabbitmq/duplicate",),
    ),
    Mutant(
        name="copies-looked-up-before-the-lock",
        guard="what exists is read in a statement after the one that locks the feeds",
        changes=[
            Change(COMMANDS, LOCK + LOOK, LOOK.replace("        if recorded:\n", "") + LOCK + "        if recorded:\n")
        ],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_copy_waits_for_the_transaction_that_records"],
    ),
    Mutant(
        name="outcome-without-a-key",
        guard="an outcome that notifies no user is recognized by its row in the inbox",
        changes=[
            Change(
                COMMANDS,
                "        if keys:\n            new = await",
                "        if keys and not events:\n            new = await",
            )
        ],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_pending_after_an_outcome_without_notifications"],
    ),
    Mutant(
        name="numbers-not-returned",
        guard="the numbers of copies are returned in the same transaction",
        changes=[Change(COMMANDS, RETURN, "")],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_numbers_of_copies_are_used_again"],
    ),
    Mutant(
        name="feeds-locked-in-any-order",
        guard="the counters of feeds are updated in user order",
        changes=[Change(STORE, "*_columns(sorted(counts.items()))", "*_columns(list(counts.items()))")],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_opposite_orders"],
    ),
    Mutant(
        name="notifications-in-another-commit",
        guard="counters and notifications are one commit",
        changes=[
            Change(
                COMMANDS,
                "        await _write(connection, entries, last_seqs, with_deliveries=with_deliveries)\n",
                "    async with database.transaction(pool) as connection:\n"
                "        await _write(connection, entries, last_seqs, with_deliveries=with_deliveries)\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_failed_window_records_nothing"],
    ),
    Mutant(
        name="pending-after-the-outcome",
        guard="a transfer whose outcome is recorded gets no PENDING line",
        changes=[Change(COMMANDS, "for id_ in by_transfer if id_ not in recorded]", "for id_ in by_transfer]")],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_pending_after_an_outcome_without_notifications"],
    ),
    Mutant(
        name="pending-looked-up-before-the-lock",
        guard="the poller reads the outcomes in a statement after the one that locks the feeds",
        changes=[
            Change(
                COMMANDS,
                "        last_seqs = await store.advance_counters(connection, counts)\n",
                f"{PENDING_LOOK}        last_seqs = await store.advance_counters(connection, counts)\n",
            ),
            Change(COMMANDS, f"{PENDING_LOOK}        keys = ", "        keys = "),
        ],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_pending_waits_for_a_worker_that_records_the_outcome"],
    ),
    Mutant(
        name="gap-passed-over",
        guard="a feed is read up to its first gap",
        changes=[Change(FEED, " or (found and line.seq != found[-1].seq + 1)", "")],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_missing_lines_are_not_passed_over"],
    ),
    Mutant(
        name="earlier-code-records-again",
        guard="code that looks only into the inbox finds no new key of a recorded outcome",
        changes=[Change(TRIGGER, "        RETURN NULL;\n", "        RETURN NEW;\n")],
        works=WORKS,
        caught_by=[f"{TWO_RELEASES}::test_copy_of_a_later_record"],
    ),
    Mutant(
        name="expired-comes-back",
        guard="an event from before the position of the retention is a copy",
        changes=[Change(QUERIES, "WHERE at < (SELECT finalized_at", "WHERE false AND at < (SELECT finalized_at")],
        works=WORKS,
        caught_by=[f"{RETENTION}::test_replay_of_an_expired_dead_letter", f"{RETENTION}::test_a_year"],
    ),
    Mutant(
        name="expiry-not-recorded",
        guard="the position of the retention is committed with the first removal",
        changes=[
            Change(RETENTION_COMMANDS, "        if notification_ids or inbox_count:\n", "        if not limit:\n")
        ],
        works=WORKS,
        caught_by=[f"{RETENTION}::test_replay_of_an_expired_dead_letter"],
    ),
    Mutant(
        name="recent-rows-removable",
        guard="the database refuses to remove what is younger than a week",
        changes=[
            Change(KEEPING, "    RAISE EXCEPTION", "    RETURN OLD;\n    RAISE EXCEPTION"),
        ],
        works=WORKS,
        caught_by=[f"{RETENTION}::test_recent_rows_cannot_be_removed"],
    ),
    Mutant(
        name="waiting-email-removed",
        guard="a notification whose e-mail waits is not removed",
        changes=[
            Change(
                REMOVALS,
                "\n  AND NOT EXISTS (SELECT FROM deliveries WHERE notification_id = notifications.id AND state = 'waiting')",
                "",
            )
        ],
        works=WORKS,
        caught_by=[f"{RETENTION}::test_waiting_email_keeps_its_notification"],
    ),
)
