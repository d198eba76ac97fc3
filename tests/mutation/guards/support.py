"""The guards of what operators use for a question about a transfer: bounded searches, an overview, tickets safe to attach."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

ALERTMANAGER = "services/gateway/clients/alertmanager.py"
SEARCH = "services/transaction/commands_search.py"
TICKET = "payflow/ticket.py"
LOG_LINE = "payflow/log_line.py"

ALERTS = "tests/integration/gateway/test_alerts.py"
SEARCHES = "tests/integration/transaction/test_search.py"
TICKETS = "tests/integration/payflow/test_ticket.py"
LOG_LINES = "tests/unit/payflow/test_log_line.py"
TIMELINES = "tests/integration/gateway/test_transfers.py"
COMMANDS = "tests/integration/payflow/test_transfer_commands.py"
LINES = f"{TICKETS}::test_metrics_and_lines"
LOCAL = f"{TICKETS}::test_the_logs_of_the_local_stack"

MUTANTS = (
    Mutant(
        name="alerts-without-a-deadline",
        guard="the overview waits for Alertmanager no longer than its own short deadline",
        changes=[Change(ALERTMANAGER, "ClientTimeout(total=SECONDS)", "ClientTimeout(total=None)")],
        works=f"{ALERTS}::test_the_overview_without_alertmanager",
        caught_by=[f"{ALERTS}::test_a_broken_alertmanager_costs_only_its_alerts"],
    ),
    Mutant(
        name="search-without-a-bound",
        guard="a search without an index reads at most so many transfers, and says how far back it went",
        changes=[
            Change(
                SEARCH,
                "find_search_floor(connection, within, count)",
                "find_search_floor(connection, within, 10**9)",
            )
        ],
        works=f"{SEARCHES}::test_by_id",
        caught_by=[f"{SEARCHES}::test_by_request"],
    ),
    Mutant(
        name="ticket-lines-unredacted",
        guard="log lines are redacted before they are written to a ticket",
        changes=[Change(TICKET, "[redaction.redact(line) for line in lines]", "lines")],
        works=LOCAL,
        caught_by=[LINES],
    ),
    Mutant(
        name="ticket-with-quoted-rows",
        guard="a row that PostgreSQL quotes is removed from a ticket",
        changes=[
            Change(
                "payflow/redaction.py",
                '    (re.compile(r"DETAIL: ',
                '    (re.compile(r"NO DETAIL: ',
            )
        ],
        works="tests/unit/payflow/test_redaction.py::test_what_looks_like_a_secret",
        caught_by=["tests/unit/payflow/test_redaction.py::test_rows_that_a_database_quotes"],
    ),
    Mutant(
        name="ticket-with-customers-text",
        guard="a ticket contains nothing that a customer wrote",
        changes=[Change(TICKET, "redaction.without_text(item.transfer.document)", "item.transfer.document")],
        works=LOCAL,
        caught_by=[LINES],
    ),
    Mutant(
        name="ticket-with-others-transfers",
        guard="of a line about several transfers only the part about this one is written",
        changes=[
            Change(
                LOG_LINE,
                "    own = [member for member in value if _is_about(member, subject)]\n",
                "    own = list(value)\n",
            )
        ],
        works=LINES,
        caught_by=[LOCAL],
    ),
    Mutant(
        name="ticket-lines-of-a-word",
        guard="a ticket has no line of other transfers, whatever request id the client chose",
        changes=[
            Change(LOG_LINE, "    if subject.transfer_id not in text and not _is_of_request(", "    if False and (")
        ],
        works=f"{LOG_LINES}::test_its_own_lines",
        caught_by=[f"{LOG_LINES}::test_lines_of_others"],
    ),
    Mutant(
        name="outcome-for-any-user",
        guard="without the transaction service, which knows the owner, only operators see the outcome of a transfer",
        changes=[
            Change(
                "services/gateway/api/transfers.py",
                "if viewer is not None or refusal.status < FAULT:",
                "if refusal.status < FAULT:",
            )
        ],
        works=f"{TIMELINES}::test_timeline_is_merged",
        caught_by=[f"{TIMELINES}::test_operators_see_the_outcome_without_the_transaction_service"],
    ),
    Mutant(
        name="ticket-with-another-systems-logs",
        guard="the logs of a local stack are those of its own gateway",
        changes=[
            Change(
                "payflow/settings.py",
                "    if local is None or parse_address(local) != gateway:\n",
                "    if local is None:\n",
            )
        ],
        works=LOCAL,
        caught_by=[f"{TICKETS}::test_another_gateways_stack"],
    ),
    Mutant(
        name="amount-with-too-many-digits",
        guard="an amount that is not exact in its currency is refused, not rounded or multiplied",
        changes=[
            Change(
                "payflow/money.py",
                "        if match is None or len(digits) > self.exponent:\n",
                "        if match is None:\n",
            )
        ],
        works=f"{COMMANDS}::test_send",
        caught_by=[f"{COMMANDS}::test_what_cannot_be_sent"],
    ),
)
