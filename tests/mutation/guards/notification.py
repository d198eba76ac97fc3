"""The guards of notifications: each outcome once."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

COMMANDS = "services/notification/commands.py"
STORE = "services/notification/store.py"
SCHEMA = "services/notification/sql/migrations/0001.sql"

RECORDING = "tests/integration/notification/test_recording.py"
WORKS = f"{RECORDING}::test_both_users"

MUTANTS = (
    Mutant(
        name="inbox-not-unique",
        guard="a copy of an event is recognised by its row in the inbox",
        changes=[
            Change(
                SCHEMA,
                "    received_at  timestamptz NOT NULL DEFAULT now(),\n    PRIMARY KEY (transfer_id, type)\n",
                "    received_at  timestamptz NOT NULL DEFAULT now()\n",
            ),
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
        name="inbox-inserted-unsorted",
        guard="the inbox is written in key order",
        changes=[Change(STORE, "*_columns(sorted(keys))", "*_columns(list(keys))")],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_opposite_orders"],
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
        guard="inbox and notifications are one commit",
        changes=[
            Change(
                COMMANDS,
                "        await _write(connection, draft, with_deliveries=with_deliveries)\n",
                "    async with database.transaction(pool) as connection:\n"
                "        await _write(connection, draft, with_deliveries=with_deliveries)\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{RECORDING}::test_failed_window_records_nothing"],
    ),
)
