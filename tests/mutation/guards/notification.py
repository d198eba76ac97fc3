"""The guards of notifications: each outcome once."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

COMMANDS = "services/notification/commands.py"
FEED = "services/notification/feed.py"
QUERIES = "services/notification/sql/queries.sql"
STORE = "services/notification/store.py"
SCHEMA = "services/notification/sql/migrations/0001.sql"
TRIGGER = "services/notification/sql/migrations/0013.sql"

RECORDING = "tests/integration/notification/test_recording.py"
TWO_RELEASES = "tests/integration/notification/test_two_releases.py"
WORKS = f"{RECORDING}::test_both_users"

LOCK = "        last_seqs = await store.advance_counters(connection, feed.count(entries))\n"
LOOK = "        recorded = await store.list_recorded(connection, list(by_transfer))\n        if recorded:\n"
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
                "        recorded = await store.list_recorded(connection, list(by_transfer))\n"
                "        last_seqs = await store.advance_counters(connection, counts)\n",
            ),
            Change(
                COMMANDS,
                "        recorded = await store.list_recorded(connection, list(by_transfer))\n        keys = ",
                "        keys = ",
            ),
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
)
