"""The sweep of the watchdog, with connections that are always late."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest

from services.chassis import watchdog
from services.chassis.watchdog import Watchdog

CONNECTIONS = 50


class Turn:
    """Numbers the iterations of the loop, and counts the connections closed in each."""

    def __init__(self) -> None:
        self.number = 0
        self.cuts = Counter[int]()

    async def count(self) -> None:
        while True:
            self.number += 1
            await asyncio.sleep(0)


class Late:
    """A connection that is late from the start."""

    address = "127.0.0.1"

    def __init__(self, watching: Watchdog, turn: Turn) -> None:
        self.watching = watching
        self.turn = turn

    def cut_if_late(self, _now: float) -> str:
        self.turn.cuts[self.turn.number] += 1
        self.watching.forget(self)  # type: ignore[arg-type]
        return "silent"


async def test_late_connections_are_closed_in_small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guarantee 51: other tasks run between small groups of closed connections; still one sweep closes all late ones."""
    monkeypatch.setattr(watchdog, "SWEEP_SECONDS", 0.01)
    watching, turn = Watchdog("test"), Turn()
    for _ in range(CONNECTIONS):
        watching.admit(Late(watching, turn))  # type: ignore[arg-type]
    beside = [asyncio.create_task(turn.count()), asyncio.create_task(watching.run())]
    async with asyncio.timeout(30):
        while turn.cuts.total() < CONNECTIONS:
            await asyncio.sleep(0.001)
    for task in beside:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    assert watchdog.CUTS_AT_ONCE == max(turn.cuts.values())


def test_connections_have_two_limits() -> None:
    """Limits per address and in total; a connection that ends frees one slot of each."""
    watching, turn = Watchdog("test", connections_max=5, per_address_max=3), Turn()

    def opened(address: str) -> Late:
        made = Late(watching, turn)
        made.address = address
        return made

    def admits(connection: Late) -> bool:
        return watching.admit(connection)  # type: ignore[arg-type]

    first = [opened("192.0.2.1") for _ in range(4)]
    others = [opened(f"192.0.2.{number}") for number in range(2, 6)]

    assert [True, True, True, False] == [admits(each) for each in first]
    assert [True, True, False, False] == [admits(each) for each in others]
    for _ in range(2):
        watching.forget(first[0])  # type: ignore[arg-type]
    assert [True, False] == [admits(opened("192.0.2.1")) for _ in range(2)]
    for each in others[:2]:
        watching.forget(each)  # type: ignore[arg-type]
    assert [False, True, True, False] == [
        admits(opened(address)) for address in ("192.0.2.1", "192.0.2.9", "192.0.2.9", "192.0.2.8")
    ]


def test_without_limits_every_connection_is_admitted() -> None:
    """A watchdog without limits only enforces deadlines."""
    watching, turn = Watchdog("test"), Turn()

    assert all(watching.admit(Late(watching, turn)) for _ in range(2000))  # type: ignore[arg-type]
