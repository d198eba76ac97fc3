"""The guards of catch-up: events lost by the broker arrive."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

CATCH_UP = "services/notification/catch_up.py"
QUERIES = "services/notification/sql/queries.sql"
FINALIZED = "services/transaction/sql/queries.sql"

CATCHING_UP = "tests/integration/notification/test_catch_up.py"
WORKS = f"{CATCHING_UP}::test_lost_events_are_told_once"

MUTANTS = (
    Mutant(
        name="position-moved-too-early",
        guard="the position moves only after everything before it was recorded",
        changes=[
            Change(
                CATCH_UP,
                "            told_count += await self._tell(await commands.list_untold(self._pool, page.transfer_ids))\n"
                "            await commands.advance_position(self._pool, page.end)\n",
                "            await commands.advance_position(self._pool, page.end)\n"
                "            told_count += await self._tell(await commands.list_untold(self._pool, page.transfer_ids))\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{CATCHING_UP}::test_what_could_not_be_told_is_not_passed"],
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
        caught_by=[f"{CATCHING_UP}::test_the_position_never_goes_back"],
    ),
    Mutant(
        name="late-commits-skipped",
        guard="only rows below every running commit are taken as complete",
        changes=[Change(FINALIZED, " AND finalized_at < $3\n", " AND ($3::timestamptz IS NOT NULL)\n")],
        works=WORKS,
        caught_by=[f"{CATCHING_UP}::test_who_commits_late_is_not_passed_over"],
    ),
    Mutant(
        name="lost-event-without-its-e-mail",
        guard="a lost event is caught up together with its e-mails",
        changes=[Change(CATCH_UP, "with_deliveries=self._with_deliveries)", "with_deliveries=False)")],
        works=WORKS,
        caught_by=[f"{CATCHING_UP}::test_what_was_lost_is_told_in_every_way"],
    ),
)
