"""The guards of the door itself: who is too slow, what is ambiguous, whose object it is."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

SLOW = "tests/integration/gateway/test_slow_clients.py"
INPUT = "tests/integration/gateway/test_input.py"
WORKS = f"{INPUT}::test_size_of_bodies"

MUTANTS = (
    Mutant(
        name="no-watchdog",
        guard="a connection whose headers do not arrive is closed",
        changes=[Change("services/chassis/server.py", "        runtime.run_beside(stack, watching.keep())\n", "")],
        works=WORKS,
        caught_by=[
            f"{SLOW}::test_headers_that_do_not_end_are_a_408",
            f"{SLOW}::test_silence_is_ended_in_silence",
        ],
    ),
    Mutant(
        name="duplicate-keys-accepted",
        guard="a body that two readers could read in two ways is refused",
        changes=[
            Change(
                "services/chassis/body.py", "    if len(members) != len(pairs):\n", "    if not members and pairs:\n"
            )
        ],
        works=WORKS,
        caught_by=[f"{INPUT}::test_what_is_not_json_is_refused"],
    ),
)
