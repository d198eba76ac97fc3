"""Password hashing: the profile, the queue, and the normal form of passwords."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import Parameters, Type

from services.auth import passwords
from services.auth.passwords import Hashing
from services.chassis import client
from services.contracts.refusals.auth import TooManyLogins

QUICK = Parameters(type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def hashing() -> Iterator[Hashing]:
    made = Hashing(QUICK)
    yield made
    made.close()


def test_profile_is_not_below_the_recommended_floor() -> None:
    """argon2id with at least 19 MiB, two passes and one lane."""
    profile = passwords.PROFILE

    assert Type.ID is profile.type
    assert profile.memory_cost >= 19 * 1024
    assert profile.time_cost >= 2
    assert profile.parallelism >= 1


async def test_password_verifies_against_its_hash_only(hashing: Hashing) -> None:
    """The right password verifies, another does not, and equal passwords have different hashes."""
    first, second = await hashing.hash("correct horse"), await hashing.hash("correct horse")

    assert first.startswith("$argon2id$v=19$")
    assert first != second
    assert await hashing.verify(first, "correct horse")
    assert not await hashing.verify(first, "correct horsf")


async def test_nothing_stored_verifies_nothing(hashing: Hashing) -> None:
    """Without a stored hash no password verifies, not even the empty one; nor does a broken hash, without a fault."""
    assert not await hashing.verify(None, "correct horse")
    assert not await hashing.verify(None, "")
    assert not await hashing.verify("$argon2id$broken", "correct horse")


async def test_unknown_user_costs_the_same_work(hashing: Hashing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stored hash, one of the current profile is verified all the same."""
    verified: list[str] = []
    real = hashing._matches

    def matches(stored: str, password: str) -> bool:
        verified.append(stored)
        return real(stored, password)

    monkeypatch.setattr(hashing, "_matches", matches)

    await hashing.verify(None, "correct horse")

    assert [stored.rsplit("$", 2)[0] for stored in verified] == ["$argon2id$v=19$m=8,t=1,p=1"]


async def test_composed_and_decomposed_characters_are_equal(hashing: Hashing) -> None:
    """An accented character is the same in both Unicode forms."""
    assert await hashing.verify(await hashing.hash("caf\u00e9 au lait"), "cafe\u0301 au lait")


async def test_hash_of_another_profile_is_behind(hashing: Hashing) -> None:
    """A change of the profile marks every earlier hash; a current hash is not marked."""
    old = await hashing.hash("correct horse")
    moved = Hashing(Parameters(Type.ID, 19, 16, 32, time_cost=2, memory_cost=8, parallelism=1))

    assert not hashing.is_behind(old)
    assert moved.is_behind(old)
    assert await moved.verify(old, "correct horse")
    moved.close()


async def test_queue_is_bounded_and_recovers() -> None:
    """With the threads busy and the queue full the next call is rejected; afterwards there is room again."""
    hashing = Hashing(QUICK, workers=1, waiting_max=1)
    gate = threading.Event()
    held = [asyncio.ensure_future(hashing._run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(TooManyLogins) as refused:
        await hashing.hash("correct horse")
    gate.set()
    await asyncio.gather(*held)

    assert refused.value.status == 503
    assert int(refused.value.headers["Retry-After"]) >= 1
    assert await hashing.hash("correct horse")
    hashing.close()


async def test_the_event_loop_runs_while_passwords_are_hashed() -> None:
    """Hashing at full cost does not block the event loop."""
    hashing = Hashing()
    turns = 0
    hashes = [asyncio.ensure_future(hashing.hash("correct horse")) for _ in range(4)]

    while not all(each.done() for each in hashes):
        turns += 1
        await asyncio.sleep(0.001)

    assert turns > 5
    hashing.close()


def test_a_burst_is_limited_by_the_queue_and_not_by_connections() -> None:
    """Fewer logins wait in auth than a gateway has connections to it, and fifty concurrent ones are accepted."""
    assert 50 <= passwords.WORKERS + passwords.WAITING_MAX < client.CONNECTIONS_MAX
