"""The guards at the edge: slow clients, ambiguous bodies, limits on password checks."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

SLOW = "tests/integration/gateway/test_slow_clients.py"
PASSWORDS = "tests/integration/gateway/test_passwords.py"
LOG_LINES = "tests/unit/chassis/test_log_lines.py"
INPUT = "tests/integration/gateway/test_input.py"
WORKS = f"{INPUT}::test_size_of_bodies"

MUTANTS = (
    Mutant(
        name="no-watchdog",
        guard="a connection whose headers do not arrive is closed",
        changes=[Change("services/chassis/server.py", "        runtime.run_beside(stack, watching.run())\n", "")],
        works=WORKS,
        caught_by=[
            f"{SLOW}::test_unfinished_headers_are_a_408",
            f"{SLOW}::test_silent_connection_is_closed_without_a_response",
        ],
    ),
    Mutant(
        name="slow-clients-cut-in-one-go",
        guard="while many slow clients are cut off, other tasks get their turn",
        changes=[
            Change(
                "services/chassis/watchdog.py",
                "                    await asyncio.sleep(PAUSE_SECONDS)\n",
                "                    pass\n",
            )
        ],
        works=WORKS,
        caught_by=["tests/unit/chassis/test_watchdog.py::test_late_connections_are_closed_in_small_groups"],
    ),
    Mutant(
        name="duplicate-keys-accepted",
        guard="a body that two parsers could read differently is refused",
        changes=[
            Change(
                "services/chassis/body.py", "    if len(members) != len(pairs):\n", "    if not members and pairs:\n"
            )
        ],
        works=WORKS,
        caught_by=[f"{INPUT}::test_malformed_json_is_refused"],
    ),
    Mutant(
        name="passwords-without-a-limit",
        guard="above the limit of concurrent password checks a request is refused unread",
        changes=[
            Change(
                "services/gateway/security/admission.py",
                "    if app[PASSWORDS].is_full:\n        yield passwords.busy()\n",
                "",
            )
        ],
        works=f"{PASSWORDS}::test_other_requests_are_served",
        caught_by=[f"{PASSWORDS}::test_excess_logins_are_refused_at_once"],
    ),
    Mutant(
        name="slots-kept",
        guard="a password check releases its slot, whatever the result",
        changes=[
            Change(
                "services/gateway/security/passwords.py",
                "        try:\n            yield\n        finally:\n            self._under_way -= 1\n",
                "        yield\n        self._under_way -= 1\n",
            )
        ],
        works=f"{PASSWORDS}::test_other_requests_are_served",
        caught_by=[f"{PASSWORDS}::test_a_burst_gets_exactly_the_free_slots"],
    ),
    Mutant(
        name="last-lines-lost",
        guard="log lines that wait for the end of an iteration are written when the process ends",
        changes=[
            Change("services/chassis/logs.py", "logging.StreamHandler(lines)", "logging.StreamHandler(sys.stderr)")
        ],
        works=f"{LOG_LINES}::test_lines_of_one_iteration_are_written_together",
        caught_by=[f"{LOG_LINES}::test_no_line_is_lost_when_a_process_ends_by_an_exception"],
    ),
    Mutant(
        name="lines-lost-at-a-crash-point",
        guard="a crash point writes all log lines before it kills the process",
        changes=[Change("services/chassis/crash_points.py", "        logs.flush()\n", "")],
        works=f"{LOG_LINES}::test_lines_of_one_iteration_are_written_together",
        caught_by=[f"{LOG_LINES}::test_a_crash_point_writes_all_lines_first"],
    ),
    Mutant(
        name="lines-wait-for-a-dead-loop",
        guard="an event loop that ended before it wrote its log lines does not hold back those of the next one",
        changes=[
            Change(
                "services/chassis/log_lines.py",
                "        if self._flushed_by is not loop:\n",
                "        if self._flushed_by is None:\n",
            )
        ],
        works=f"{LOG_LINES}::test_lines_of_one_iteration_are_written_together",
        caught_by=[f"{LOG_LINES}::test_an_event_loop_that_ended_early_does_not_hold_lines_back"],
    ),
    Mutant(
        name="redaction-left-out",
        guard="secrets are removed from every log line",
        changes=[Change("services/chassis/logs.py", "        redact,\n", "")],
        works=f"{LOG_LINES}::test_lines_of_one_iteration_are_written_together",
        caught_by=[f"{LOG_LINES}::test_secrets_are_redacted_in_the_whole_pipeline"],
    ),
    Mutant(
        name="quoted-rows-in-tracebacks",
        guard="a row that PostgreSQL quotes is removed from a traceback",
        changes=[Change("services/chassis/logs.py", '"DETAIL: " in exception', '"NO DETAIL: " in exception')],
        works="tests/unit/chassis/test_logs.py::test_credentials_and_addresses_in_texts_are_redacted",
        caught_by=["tests/unit/chassis/test_logs.py::test_rows_in_a_traceback_are_redacted"],
    ),
    Mutant(
        name="guards-left-out",
        guard="authentication and rate limits run before the handler",
        changes=[
            Change(
                "services/chassis/server.py",
                "                        await guard(request)\n",
                "                        pass\n",
            )
        ],
        works="tests/integration/gateway/test_authentication.py::test_keys_are_published",
        caught_by=["tests/integration/gateway/test_authentication.py::test_other_credentials_are_refused"],
    ),
    Mutant(
        name="limit-counts-after-authentication",
        guard="a request counts for its address before its token is verified",
        changes=[
            Change(
                "services/gateway/app.py",
                "            rate_limit.by_address(limiter, trusted),\n            authentication.guard(",
                "            authentication.guard(",
            ),
            Change(
                "services/gateway/app.py",
                "            rate_limit.by_caller(limiter),\n",
                "            rate_limit.by_address(limiter, trusted),\n            rate_limit.by_caller(limiter),\n",
            ),
        ],
        works=WORKS,
        caught_by=["tests/integration/gateway/test_limits.py::test_address_is_limited_before_authentication"],
    ),
    Mutant(
        name="nothing-is-shed",
        guard="above its limits the gateway refuses a request before any other work",
        changes=[
            Change(
                "services/chassis/server.py",
                "if shed is not None and (refused := shed(request)) is not None:",
                "if shed is None and (refused := None) is not None:",
            )
        ],
        works="tests/integration/gateway/test_admission.py::test_other_requests_are_served",
        caught_by=["tests/integration/gateway/test_passwords.py::test_excess_logins_are_refused_at_once"],
    ),
    Mutant(
        name="escapes-unchecked",
        guard="a body with an escape is searched for characters that cannot be stored",
        changes=[Change("services/chassis/body.py", '    return b"\\\\" in body\n', "    return False\n")],
        works=WORKS,
        caught_by=[f"{INPUT}::test_invalid_names_are_replaced_in_the_response"],
    ),
    Mutant(
        name="second-reading-accepted",
        guard="the fast decoder is used only for bodies that have one reading",
        changes=[Change("services/chassis/body.py", "        if orjson.dumps(value) == body:\n", "        if True:\n")],
        works=WORKS,
        caught_by=["tests/unit/chassis/test_body.py::test_ambiguous_bodies_are_refused"],
    ),
    Mutant(
        name="depth-of-lists-unchecked",
        guard="a body with more brackets than levels that are accepted is searched for its depth",
        changes=[
            Change(
                "services/chassis/body.py",
                'body.count(b"{") + body.count(b"[") > DEPTH_MAX',
                'body.count(b"{") > DEPTH_MAX',
            )
        ],
        works=WORKS,
        caught_by=[f"{INPUT}::test_malformed_json_is_refused"],
    ),
)
