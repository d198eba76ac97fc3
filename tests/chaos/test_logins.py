"""Many logins at once: no deadlock, each one succeeds or gets a Retry-After, and other users are hardly factor."""

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
from tests.harness.slowdown import FACTOR_MAX, PERIOD_SECONDS, PERIODS, measure

SIZES = (30, 50, 200)
LOGINS_TIMED = bound(10, 200)
MEDIANS_APART_MAX = 0.10


@pytest.mark.parametrize("size", SIZES)
async def test_many_logins_at_once(api: ApiClient, alice: Person, bob: Person, size: int) -> None:
    """Guarantee 49: with 30, 50 and 200 logins at once nothing deadlocks, the rest is 503 with Retry-After."""
    # A user other than the reader: with more than a thousand sessions a user's oldest ones end.
    carol = await api.register("Carol Test")
    slowdown = await measure(alice, lambda: logins.running(api.base, size, PASSWORD, [bob.email, carol.email]))
    results: Counter[str] = sum(map(Counter, slowdown.loads), Counter())
    print(
        f"\n{size} logins at once: {slowdown};"
        f" logins: {results['200'] / PERIODS / PERIOD_SECONDS:.0f}/s succeed, "
        f"{results.total() - results['200']} refused with Retry-After"
    )

    # Without a connection to auth the response is also 503 with Retry-After.
    assert {"200", "503 too_many_logins", "503 upstream_unavailable"} >= set(results), results
    assert results["200"] > 0
    assert 200 == (await api.send("POST", "/auth/login", json={"email": bob.email, "password": PASSWORD})).status
    if FULL:
        assert slowdown.factor < FACTOR_MAX


async def wrong_login(api: ApiClient, email: str) -> tuple[float, dict[str, Any]]:
    """The duration of a failed login in seconds, and its body without the request id."""
    began = time.monotonic()
    response = await api.send("POST", "/auth/login", json={"email": email, "password": "not the password"})
    took = time.monotonic() - began
    assert 401 == response.status, response
    return took, response.body | {"request_id": ""}


async def enable_totp(person: Person) -> None:
    uri = (await person.post("/auth/totp", {"password": PASSWORD})).body["uri"]
    secret = base64.b32decode(parse_qs(urlsplit(uri).query)["secret"][0])
    code = TOTP(secret, 6, SHA1(), 30).generate(int(time.time())).decode()
    assert 200 == (await person.post("/auth/totp/confirm", {"code": code})).status


async def test_failed_logins_reveal_nothing_about_the_account(
    api: ApiClient, operator: Person, alice: Person, bob: Person
) -> None:
    """Guarantee 50: known, unknown, disabled and with a second factor: a wrong login has one body, and takes as long."""
    disabled = await api.register("Disabled Test")
    await enable_totp(bob)
    path = f"/ops/users/{disabled.user_id}/disable"
    response = await operator._as_me("PUT", path, json={"reason": "a test"})
    assert 200 == response.status, response
    kinds = {
        "known": alice.email,
        "unknown": f"{uuid4().hex}@example.com",
        "disabled": disabled.email,
        "second factor": bob.email,
    }
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    bodies = set()
    for number in range(LOGINS_TIMED):
        # Interleaved in rotating order, so that other load on the machine affects all kinds alike.
        order = list(kinds.items())
        for kind, email in order[number % 4 :] + order[: number % 4]:
            seconds, body = await wrong_login(api, email)
            took[kind].append(seconds)
            bodies.add(str(body))
    medians = {kind: statistics.median(each) * 1000 for kind, each in took.items()}
    apart = max(medians.values()) / min(medians.values()) - 1
    results = ", ".join(f"{kind} {median:.1f} ms" for kind, median in medians.items())
    print(f"\nmedians of {LOGINS_TIMED} wrong logins each: {results}; {apart * 100:.1f} % apart")

    assert 1 == len(bodies)
    if FULL:
        assert apart < MEDIANS_APART_MAX
