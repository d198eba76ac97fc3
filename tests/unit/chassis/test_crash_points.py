"""A process crashes at its armed crash point, nowhere else, and in demo mode only."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.chassis.crash_points import CrashPoint, parse
from services.chassis.settings import BadConfiguration, RoleSettings, load

ROOT = Path(__file__).parents[3]
SEED = base64.b64encode(bytes(range(32))).decode()


def run(program: str) -> tuple[int, list[str]]:
    """Run this in a process; its exit status, and the lines that it wrote."""
    text = (
        f"from services.chassis import crash_points, database\nfrom services.chassis.crash_points import *\n{program}"
    )
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which a role starts."""
    monkeypatch.delenv("PAYFLOW_DEMO", raising=False)
    monkeypatch.setenv("PAYFLOW_SERVICE_KEY", SEED)
    monkeypatch.setenv("PAYFLOW_SERVICE_PUBLIC_KEYS", "{}")
    return monkeypatch


def test_a_point_is_a_seam_an_operation_and_a_number() -> None:
    """The default number is 1; operations may contain spaces and slashes."""
    assert CrashPoint("after-commit:finalize_transfers", 2) == parse("after-commit:finalize_transfers@2")
    assert CrashPoint("before-answer:POST /internal/post", 1) == parse("before-answer:POST /internal/post")


@pytest.mark.parametrize(
    "text",
    ["after-commit", "after-commit:", "after-lunch:x", "after-commit:x@0", "after-commit:x@", "after-commit:x@two"],
)
def test_invalid_crash_points_are_refused(text: str) -> None:
    """An unknown seam, no operation, or a number below 1."""
    with pytest.raises(ValueError, match="is not a crash point"):
        parse(text)


def test_the_process_ends_at_the_given_pass() -> None:
    """It is killed at the second pass, not at the first, and not at another point."""
    status, said = run(
        """
arm(parse("before-ack:queue@2"))
pass_by("before-ack", "queue")
print("once")
pass_by("after-ack", "queue")
pass_by("before-ack", "another queue")
print("elsewhere")
pass_by("before-ack", "queue")
print("twice")
"""
    )

    assert -signal.SIGKILL == status
    assert ["once", "elsewhere"] == [line for line in said if line in ("once", "elsewhere", "twice")]


def test_an_unarmed_process_does_not_crash() -> None:
    """Nothing is counted, logged or killed."""
    status, said = run(
        """
import asyncio
async def main():
    for seam in SEAMS:
        pass_by(seam, "anything")
        pass_by_soon(seam, "anything")
asyncio.run(main())
print(sum(crash_points._passes.values()))
"""
    )

    assert (0, ["0"]) == (status, said)


def test_a_use_of_the_database_is_named_after_its_caller() -> None:
    """The operation of a context manager is the function that enters and leaves it, also through another one."""
    status, _ = run(
        """
import asyncio
from contextlib import asynccontextmanager
@asynccontextmanager
async def lent():
    yield
    pass_by("after-use")
async def finalize_things():
    async with lent():
        await asyncio.sleep(0)
arm(parse("after-use:finalize_things"))
asyncio.run(finalize_things())
"""
    )

    assert -signal.SIGKILL == status


def test_ids_in_an_operation_are_replaced() -> None:
    """Paths are logged as patterns."""
    status, _ = run(
        """
arm(parse("before-answer:GET /transfers/{id}/steps"))
pass_by("before-answer", "GET", "/transfers/01a1fc70-68eb-7d62-bd2e-ad77d1cb0697/steps")
"""
    )

    assert -signal.SIGKILL == status


def test_only_a_demo_can_be_armed(configured: pytest.MonkeyPatch) -> None:
    """Guarantee 55: outside demo mode the setting is a bad configuration, reported in one line that names it."""
    configured.setenv("PAYFLOW_CRASH_AT", "after-commit:finalize_transfers")

    with pytest.raises(BadConfiguration, match=r"^PAYFLOW_CRASH_AT: [^\n]* needs PAYFLOW_DEMO=1$"):
        load(RoleSettings)


@pytest.mark.parametrize("demo", ["0", "false"])
def test_crash_points_need_demo_mode(configured: pytest.MonkeyPatch, demo: str) -> None:
    """A false value of PAYFLOW_DEMO is the same as none."""
    configured.setenv("PAYFLOW_DEMO", demo)
    configured.setenv("PAYFLOW_CRASH_AT", "after-commit:finalize_transfers")

    with pytest.raises(BadConfiguration, match="PAYFLOW_CRASH_AT"):
        load(RoleSettings)


def test_an_unknown_point_is_bad_configuration(configured: pytest.MonkeyPatch) -> None:
    """One line that names the variable and all seams."""
    configured.setenv("PAYFLOW_DEMO", "1")
    configured.setenv("PAYFLOW_CRASH_AT", "after-lunch:anything")

    with pytest.raises(BadConfiguration, match=r"^PAYFLOW_CRASH_AT: is not a crash point[^\n]*before-commit[^\n]*$"):
        load(RoleSettings)


def test_a_demo_can_be_armed(configured: pytest.MonkeyPatch) -> None:
    """With PAYFLOW_DEMO=1 a known point is armed; without PAYFLOW_CRASH_AT none is."""
    configured.setenv("PAYFLOW_DEMO", "1")
    assert "" == load(RoleSettings).crash_at

    configured.setenv("PAYFLOW_CRASH_AT", "after-commit:finalize_transfers@2")
    assert "after-commit:finalize_transfers@2" == load(RoleSettings).crash_at
