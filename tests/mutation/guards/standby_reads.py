"""The guards of reads on a standby: nothing older than the stated lag, no page with a gap."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

REPLICA = "services/chassis/replica.py"
COMMANDS = "services/wallet/commands_statement.py"
STATEMENTS = "tests/integration/replication/test_statements.py"
WORKS = f"{STATEMENTS}::test_statement_may_be_as_old_as_the_lag"

MUTANTS = (
    Mutant(
        name="standby-of-any-age",
        guard="a standby that is further behind than the lag is not used",
        changes=[Change(REPLICA, "replayed is None or replayed < needed", "replayed is None")],
        works=WORKS,
        caught_by=[f"{STATEMENTS}::test_paused_standby_is_not_used_beyond_the_lag"],
    ),
    Mutant(
        name="old-positions-count",
        guard="without a recent position of the primary the standby is not used",
        changes=[Change(REPLICA, "self._positions[0][0] < earliest", "False")],
        works=WORKS,
        caught_by=[f"{STATEMENTS}::test_positions_that_are_too_old_do_not_count"],
    ),
    Mutant(
        name="page-with-a-gap-from-the-standby",
        guard="the standby serves a page only if it has the entry that comes first in it",
        changes=[Change(COMMANDS, ", is_complete=has_next)", ")")],
        works=WORKS,
        caught_by=[f"{STATEMENTS}::test_next_page_has_no_gap"],
    ),
    Mutant(
        name="incomplete-period-from-the-standby",
        guard="a period that has ended is read where all of it is",
        changes=[Change(COMMANDS, "position = await replica.read_position(reader.primary)", "position = 0")],
        works=WORKS,
        caught_by=[f"{STATEMENTS}::test_period_that_has_ended_is_complete"],
    ),
    Mutant(
        name="promoted-server-as-standby",
        guard="a server that is no standby is not used as one",
        changes=[Change(REPLICA, "usable=replayed is not None", "usable=True")],
        works=WORKS,
        caught_by=[f"{STATEMENTS}::test_server_that_leads_is_no_standby"],
    ),
)
