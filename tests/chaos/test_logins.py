"""A crowd that logs in: nothing deadlocks, everybody is let in or told when to come back, and the others hardly notification."""

from __future__ import annotations

import base64
import statistics
import time
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from tests.harness import logins
from tests.harness.api import PASSWORD, ApiClient, Person
from tests.harness.drills import FULL, bound
from tests.harness.stretches import SLOWER_MAX, STRETCH_SECONDS, TURNS, in_turns

CROWDS = (30, 50, 200)
LOGINS_TIMED = bound(10, 200)
MEDIANS_APART_MAX = 0.10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("crowd", CROWDS)
async def test_a_crowd_logs_in(api: ApiClient, alice: Person, bob: Person, crowd: int) -> None:
    """Guarantee 49: with 30, 50 and 200 logins at once nothing deadlocks, the rest is 503 with Retry-After."""
    # Not who reads: of a user's sessions the oldest end when there are a thousand.
    carol = await api.register("Carol Test")
    stretches = await in_turns(alice, lambda: logins.crowd(api.base, crowd, PASSWORD, [bob.email, carol.email]))
    told: Counter[str] = sum(map(Counter, stretches.loads), Counter())
    print(
        f"\n{crowd} logins at once: {stretches};"
        f" logins: {told['200'] / TURNS / STRETCH_SECONDS:.0f}/s in, {told.total() - told['200']} told to come back"
    )

    # Whoever does not even get a connection to auth is told so, and to come back, too.
    assert {"200", "503 too_many_logins", "503 upstream_unavailable"} >= set(told), told
    assert told["200"] > 0
    assert 200 == (await api.send("POST", "/auth/login", json={"email": bob.email, "password": PASSWORD})).status
    if FULL:
        assert stretches.slower < SLOWER_MAX


async def wrong_login(api: ApiClient, email: str) -> tuple[float, dict[str, Any]]:
    """How long it took, in seconds, and the body without its request id."""
    began = time.monotonic()
    answer = await api.send("POST", "/auth/login", json={"email": email, "password": "not the password"})
    took = time.monotonic() - began
    assert 401 == answer.status, answer
    return took, answer.body | {"request_id": ""}


async def turn_totp_on(person: Person) -> None:
    uri = (await person.post("/auth/totp", {"password": PASSWORD})).body["uri"]
    secret = base64.b32decode(parse_qs(urlsplit(uri).query)["secret"][0])
    code = TOTP(secret, 6, SHA1(), 30).generate(int(time.time())).decode()
    assert 200 == (await person.post("/auth/totp/confirm", {"code": code})).status


async def test_logins_tell_nothing_about_whom(api: ApiClient, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 50: known, unknown, disabled and with a second factor: a wrong login has one body, and takes as long."""
    disabled = await api.register("Disabled Test")
    await turn_totp_on(bob)
    path = f"/ops/users/{disabled.user_id}/disable"
    answer = await operator._as_me("PUT", path, json={"reason": "a test"})
    assert 200 == answer.status, answer
    kinds = {
        "known": alice.email,
        "unknown": f"{uuid4().hex}@example.com",
        "disabled": disabled.email,
        "second factor": bob.email,
    }
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    bodies = set()
    for number in range(LOGINS_TIMED):
        # Interleaved, each kind first as often as the others: whatever else the machine does hits them alike.
        order = list(kinds.items())
        for kind, email in order[number % 4 :] + order[: number % 4]:
            seconds, body = await wrong_login(api, email)
            took[kind].append(seconds)
            bodies.add(str(body))
    medians = {kind: statistics.median(each) * 1000 for kind, each in took.items()}
    apart = max(medians.values()) / min(medians.values()) - 1
    told = ", ".join(f"{kind} {median:.1f} ms" for kind, median in medians.items())
    print(f"\nmedians of {LOGINS_TIMED} wrong logins each: {told}; {apart * 100:.1f} % apart")

    assert 1 == len(bodies)
    if FULL:
        assert apart < MEDIANS_APART_MAX
