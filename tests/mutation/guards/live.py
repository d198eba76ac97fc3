"""The guards of live events: nothing missing, nothing doubled."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

LIVE = "services/gateway/live.py"
EVENT_STREAM = "services/gateway/event_stream.py"

DOOR = "tests/integration/gateway/test_live.py"
WORKS = f"{DOOR}::test_a_stream_from_now_on"

MUTANTS = (
    Mutant(
        name="nobody-polls",
        guard="feeds are looked at also when the wakeup does not notify",
        changes=[Change(LIVE, "if self._all_due or loop.time() >= poll_at:", "if self._all_due:")],
        works=WORKS,
        caught_by=[f"{DOOR}::test_without_the_wakeup"],
    ),
    Mutant(
        name="resumed-one-too-late",
        guard="a stream is resumed right after the last event that the client has",
        changes=[Change(EVENT_STREAM, "    return int(text)\n", "    return int(text) + 1\n")],
        works=WORKS,
        caught_by=[f"{DOOR}::test_resuming"],
    ),
    Mutant(
        name="stands-where-the-feed-ends",
        guard="a stream stands at the last line that it took, not where the feed ends",
        changes=[Change(LIVE, '            self.after = lines[-1]["seq"]\n', "            self.after = last_seq\n")],
        works=WORKS,
        caught_by=[f"{DOOR}::test_resuming"],
    ),
)
