"""The guards of past figures: a returned figure never changes."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

FINALITY = "services/chassis/finality.py"
HORIZON = "services/chassis/sql/queries_finality.sql"
FILE_STREAM = "services/gateway/file_stream.py"
API_WALLETS = "services/gateway/api/wallets.py"
COMMANDS = "services/wallet/commands.py"
STATEMENT = "services/wallet/commands_statement.py"
QUERIES = "services/wallet/sql/queries.sql"

HISTORY = "tests/integration/wallet/test_history.py"
PERIODS = "tests/integration/test_periods.py"
FILES = "tests/integration/gateway/test_statement_file.py"
WORKS = f"{HISTORY}::test_the_balance_at_a_moment"

MUTANTS = (
    Mutant(
        name="horizon-not-waited-for",
        guard="a time that open transactions can still write to is not returned",
        changes=[Change(FINALITY, "    while horizon.final_before < before:", "    while False:")],
        works=WORKS,
        caught_by=[f"{HISTORY}::test_a_read_waits_for_open_postings_of_its_moment"],
    ),
    Mutant(
        name="horizon-is-the-clock",
        guard="the horizon is the start of the oldest open transaction",
        changes=[
            Change(
                HORIZON, "min(CASE state WHEN 'disabled' THEN to_timestamp(0) ELSE xact_start END)", "max(xact_start)"
            )
        ],
        works=WORKS,
        caught_by=[f"{HISTORY}::test_a_read_waits_for_open_postings_of_its_moment"],
    ),
    Mutant(
        name="horizon-of-another-role",
        guard="the balance sheet reads the horizon as the role that posts",
        changes=[
            Change(
                COMMANDS,
                "await finality.wait_for_moment(pool, None)",
                "await finality.wait_for_moment(proof_pool, None)",
            )
        ],
        works=WORKS,
        caught_by=[f"{HISTORY}::test_a_moment_that_stays_open_is_refused"],
    ),
    Mutant(
        name="statement-not-final",
        guard="a statement of a period that has ended is final",
        changes=[Change(STATEMENT, "    if period.until and below is None:\n", "    if False:\n")],
        works=WORKS,
        caught_by=[f"{HISTORY}::test_a_moment_that_stays_open_is_refused"],
    ),
    Mutant(
        name="past-balance-is-the-current-one",
        guard="the balance at a time is the one after the last entry up to it",
        changes=[
            Change(
                QUERIES,
                "seq = last_seq_at($1, $2)), 0)",
                "seq = last_seq_at($1, greatest($2::timestamptz, 'infinity'))), 0)",
            )
        ],
        works=f"{HISTORY}::test_a_moment_ahead_is_now",
        caught_by=[WORKS],
    ),
    Mutant(
        name="sheet-not-of-its-time",
        guard="the figures of the balance sheet are those of its time",
        changes=[Change(QUERIES, "CASE WHEN last_entry_at > $1 THEN", "CASE WHEN last_entry_at > $1 AND false THEN")],
        works=WORKS,
        caught_by=[f"{HISTORY}::test_the_balance_sheet_is_of_its_moment"],
    ),
    Mutant(
        name="statement-period-includes-its-end",
        guard="`from` is inclusive and `to` is exclusive in a statement",
        changes=[
            Change(
                QUERIES,
                "last_seq_at($1, $2::timestamptz - interval '1 microsecond')",
                "last_seq_at($1, $2::timestamptz)",
            )
        ],
        works=WORKS,
        caught_by=[f"{PERIODS}::test_adjacent_periods_hold_every_row_once"],
    ),
    Mutant(
        name="file-cut-silently",
        guard="a file that cannot be completed ends with the connection, never with the end of a response",
        changes=[Change(FILE_STREAM, "            request.transport.abort()\n", "            pass\n")],
        works=f"{FILES}::test_a_long_file_is_compressed",
        caught_by=[f"{FILES}::test_a_file_that_cannot_be_completed_is_visibly_incomplete"],
    ),
    Mutant(
        name="file-outlives-its-session",
        guard="once a session has ended no further page of a file is sent",
        changes=[Change(API_WALLETS, "            raise errors.InvalidToken\n", "            pass\n")],
        works=f"{FILES}::test_a_long_file_is_compressed",
        caught_by=[f"{FILES}::test_the_end_of_a_session_ends_its_files"],
    ),
    Mutant(
        name="long-file-over-http-1-0",
        guard="a file that could be cut off unseen is not sent over HTTP/1.0",
        changes=[Change(FILE_STREAM, "    if request.version < HttpVersion11:\n", "    if False:\n")],
        works=f"{FILES}::test_a_long_file_is_compressed",
        caught_by=[f"{FILES}::test_http_1_0_is_refused_a_long_file"],
    ),
)
