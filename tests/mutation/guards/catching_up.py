"""The guards of catch-up: events lost by the broker arrive."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

CATCH_UP = "services/notification/catch_up.py"
QUERIES = "services/notification/sql/queries.sql"
FINALIZED = "services/transaction/sql/queries.sql"

CATCHING_UP = "tests/integration/notification/test_catch_up.py"
WORKS = f"{CATCHING_UP}::test_lost_events_are_recorded_once"

RECORD = (
    "            recorded_count += await self._record(await commands.list_unrecorded(self._pool, page.transfer_ids))\n"
)
ADVANCE = "            await commands.advance_position(self._pool, page.end)\n"

MUTANTS = (
    Mutant(
        name="position-moved-too-early",
        guard="the position moves only after everything before it was recorded",
        changes=[
            Change(
                CATCH_UP,
                RECORD + ADVANCE,
                ADVANCE + RECORD,
            )
        ],
        works=WORKS,
        caught_by=[f"{CATCHING_UP}::test_position_does_not_pass_unrecorded_events"],
    ),
    Mutant(
        name="position-goes-back",
        guard="a slower worker does not move back the position of a faster one",
        changes=[
            Change(
                QUERIES,
                "\nWHERE (positions.finalized_at, positions.transfer_id) < (excluded.finalized_at, excluded.transfer_id);",
                ";",
            )
        ],
        works=WORKS,
        caught_by=[f"{CATCHING_UP}::test_position_never_goes_back"],
    ),
    Mutant(
        name="late-commits-skipped",
        guard="only rows below every running commit are taken as complete",
        changes=[Change(FINALIZED, " AND finalized_at < $3\n", " AND ($3::timestamptz IS NOT NULL)\n")],
        works=WORKS,
        caught_by=[f"{CATCHING_UP}::test_late_commit_is_not_skipped"],
    ),
    Mutant(
        name="lost-event-without-its-e-mail",
        guard="a lost event is caught up together with its e-mails",
        changes=[Change(CATCH_UP, "with_deliveries=self._with_deliveries)", "with_deliveries=False)")],
        works=WORKS,
        caught_by=[f"{CATCHING_UP}::test_lost_event_has_all_its_effects"],
    ),
)
