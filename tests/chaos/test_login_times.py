"""How long a wrong login takes tells nothing: neither that an address is registered nor that it is not."""

from __future__ import annotations

import statistics
import time
from uuid import uuid4

import pytest

from tests.harness.api import Door

TIMES = 200
DIFFERENCE_MAX = 0.10


async def wrong_login(door: Door, email: str) -> tuple[float, int, dict[str, object]]:
    """Seconds that it took, and what was said, without the request's own id."""
    began = time.perf_counter()
    answer = await door.send("POST", "/auth/login", json={"email": email, "password": uuid4().hex})
    return time.perf_counter() - began, answer.status, {**answer.body, "request_id": ""}


@pytest.mark.full_drill
async def test_the_time_tells_nothing(door: Door) -> None:
    """Guarantee 50: 200 wrong logins each at a known and at an unknown address, in turn: medians within 10 %, same answer."""
    known = (await door.register("Alice Test")).email
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    said = []
    for _ in range(TIMES):
        for name, email in (("known", known), ("unknown", f"{uuid4().hex}@example.com")):
            took, *answer = await wrong_login(door, email)
            times[name].append(took)
            said.append(answer)
    medians = {name: statistics.median(taken) for name, taken in times.items()}

    print(f"medians of {TIMES}: " + ", ".join(f"{name} {1000 * took:.1f} ms" for name, took in medians.items()))
    assert all(answer == said[0] for answer in said)
    assert 401 == said[0][0]
    assert abs(medians["known"] - medians["unknown"]) < DIFFERENCE_MAX * max(medians.values())
