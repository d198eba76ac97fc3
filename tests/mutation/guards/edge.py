"""The guards at the edge: slow clients, ambiguous bodies, limits on password checks."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

SLOW = "tests/integration/gateway/test_slow_clients.py"
PASSWORDS = "tests/integration/gateway/test_passwords.py"
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
)
