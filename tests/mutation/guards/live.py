"""The guards of live events: none lost, none repeated."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

LIVE = "services/gateway/live.py"
EVENT_STREAM = "services/gateway/event_stream.py"

LIVE_TESTS = "tests/integration/gateway/test_live.py"
WORKS = f"{LIVE_TESTS}::test_a_stream_of_new_events"

MUTANTS = (
    Mutant(
        name="no-polling",
        guard="feeds are polled also without a wake-up",
        changes=[Change(LIVE, "if self._all_due or loop.time() >= poll_at:", "if self._all_due:")],
        works=WORKS,
        caught_by=[f"{LIVE_TESTS}::test_without_the_wakeup"],
    ),
    Mutant(
        name="resumed-one-too-late",
        guard="a stream resumes right after the last event that the client has",
        changes=[Change(EVENT_STREAM, "    return int(text)\n", "    return int(text) + 1\n")],
        works=WORKS,
        caught_by=[f"{LIVE_TESTS}::test_resuming"],
    ),
    Mutant(
        name="position-at-the-end-of-the-feed",
        guard="the position of a stream is the last line it read, not the end of the feed",
        changes=[Change(LIVE, '            self.after = lines[-1]["seq"]\n', "            self.after = last_seq\n")],
        works=WORKS,
        caught_by=[f"{LIVE_TESTS}::test_resuming"],
    ),
)
