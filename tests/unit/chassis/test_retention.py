"""The loop of each retention."""

from __future__ import annotations

import time

import pytest
from prometheus_client import REGISTRY

from services.chassis import retention
from services.chassis.database import DatabaseUnavailable, LockTimeout
from services.chassis.roles import Runtime


@pytest.mark.parametrize("error", [DatabaseUnavailable(), LockTimeout("held"), ValueError("a fault of ours")])
async def test_a_failed_pass_is_followed_by_others(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A pass that fails is no success and does not end the loop."""
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.0)
    runtime = Runtime(service="test", role="worker", instance="test")
    job = f"removing-{type(error).__name__}"
    successes: list[float | None] = []

    async def remove() -> bool:
        successes.append(_last_success(job))
        if len(successes) == 1:
            raise error
        if len(successes) == 3:
            runtime.stopping.set()
        return False

    started = time.time()
    await retention.run(runtime, job, remove)

    assert 3 == len(successes)
    assert not successes[1], "the failed pass"
    assert started <= (successes[2] or 0)


async def test_what_is_left_is_removed_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a pass leaves something to do, the next one follows after the short pause."""
    runtime = Runtime(service="test", role="worker", instance="test")
    pauses: list[float] = []

    async def pause(_runtime: Runtime, seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            runtime.stopping.set()

    async def remove() -> bool:
        return not pauses

    monkeypatch.setattr(Runtime, "pause", pause)
    await retention.run(runtime, "removing", remove)

    assert [retention.MORE_SECONDS, retention.EVERY_SECONDS] == pauses


def _last_success(job: str) -> float | None:
    return REGISTRY.get_sample_value("payflow_job_last_success_timestamp_seconds", {"job": job})
