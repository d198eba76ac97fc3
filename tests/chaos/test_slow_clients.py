"""A crowd of slow clients before the whole running system: each is cut off in time, and the others hardly notification."""

from __future__ import annotations

import pytest

from tests.harness import slow_clients
from tests.harness.api import ApiClient, Person
from tests.harness.drills import FULL
from tests.harness.stretches import SLOWER_MAX, in_turns

SLOW = 500
LIVED_SECONDS_MAX = 15.0

TIMEOUT = "HTTP/1.1 408 Request Timeout"
TOLD = {
    "headers": TIMEOUT,
    "body": TIMEOUT,
    "login": TIMEOUT,
    "stranger": "HTTP/1.1 401 Unauthorized",
    "silence": "",
    "half headers": TIMEOUT,
    "half body": TIMEOUT,
    "unread": "",
}


SLOW_KINDS = tuple(kind for kind in TOLD if kind != "unread")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(SLOW_KINDS, id="slow", marks=pytest.mark.full_drill),
        pytest.param(tuple(TOLD), id="slow, and asking for large answers"),
    ],
)
async def test_a_slow_crowd(api: ApiClient, alice: Person, bob: Person, kinds: tuple[str, ...]) -> None:
    """Guarantee 51: of 500 slow connections, each opened again when it was cut, none lives for 15 s; the rest is served.

    No address has a share in this stack: one crowd may take as much as it likes. Those who ask for large answers, and do not
    read them, are load besides; how much slower they make the others is told, and not judged.
    """
    stretches = await in_turns(alice, lambda: slow_clients.crowd(api.base, SLOW, bob.token, kinds))
    lived = {kind: max(each[kind]["lived_max"] for each in stretches.loads) for kind in kinds}
    count = sum(fate["cut"] for each in stretches.loads for fate in each.values())
    print(f"\n{SLOW} slow connections: {stretches}; {count} cut, living at most:")
    print(", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in lived.items()))

    for each in stretches.loads:
        # What was said last may be lost with a connection on which something was on its way.
        assert {kind: [TOLD[kind]] for kind in kinds} == {
            kind: [line for line in fate["told"] if line or not TOLD[kind]] for kind, fate in each.items()
        }
    assert max(lived.values()) < LIVED_SECONDS_MAX
    if FULL and kinds == SLOW_KINDS:
        assert stretches.slower < SLOWER_MAX
