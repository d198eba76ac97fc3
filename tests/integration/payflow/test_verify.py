"""`payflow ledger verify`: a run of the proof is started, followed to its end, and its result printed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from payflow import verification
from tests.integration.payflow.conftest import proof

RUNS = "/ops/ledger/proof-runs"
RUN_ID = "01a22e97-0000-7000-8000-000000000002"


async def login(run: Any) -> None:
    ran = await run("login", "ops@example.com")
    assert ran.code == 0, ran.err


def proof_run(result: dict[str, Any] | None) -> dict[str, Any]:
    """A run of the proof: in progress, or ended with this result."""
    state = "running" if result is None else "passed" if result["ok"] else "failed"
    return {
        "id": RUN_ID, "state": state, "full": False, "started_at": "2026-01-02T12:00:00.000000Z",
        "updated_at": "2026-01-02T12:00:01.000000Z", "ended_at": None, "check": "chains_unbroken", "checks_done": 3,
        "checks_total": 12, "blocks_done": 40, "blocks_total": 1200, "proof": result,
    }  # fmt: skip


async def test_verify(gateway: Any, run: Any) -> None:
    """A ledger that passes: every check is listed, exit code 0. A run is started, with --full one of everything."""
    gateway.documents[RUNS] = proof_run(proof(entries_ok=True))
    await login(run)

    ran = await run("ledger", "verify")
    await run("ledger", "verify", "--full")

    assert (ran.code, ran.err) == (0, "")
    assert "balances_equal_entries" in ran.out
    assert ["proof", "passed"] in [line.split() for line in ran.out.splitlines()]
    assert [{"full": False, "head": None}, {"full": True, "head": None}] == [
        request.body for request in gateway.seen(f"POST {RUNS}")
    ]


async def test_verify_waits_for_the_run(gateway: Any, run: Any, faults: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in progress is polled until it ends; a terminal shows the checks and blocks that are done, on standard error."""
    gateway.documents[RUNS] = proof_run(None)
    gateway.documents[f"{RUNS}/{RUN_ID}"] = proof_run(proof(entries_ok=True))
    gateway.fail(f"GET {RUNS}/{RUN_ID}", *[faults.document(proof_run(None))] * 2)
    await login(run)
    monkeypatch.setattr(verification, "is_terminal", lambda: True)

    ran = await run("ledger", "verify", "--json")

    assert 0 == ran.code
    assert proof(entries_ok=True) == json.loads(ran.out)
    assert "3 of 12 checks, 40 of 1,200 blocks, 0 s: chains_unbroken" in ran.err
    assert 3 == len(gateway.seen(f"GET {RUNS}/{RUN_ID}"))


async def test_verify_of_an_abandoned_run(gateway: Any, run: Any) -> None:
    """A run whose process died has no result: exit code 1 and one line that says to run the command again."""
    gateway.documents |= {RUNS: proof_run(None), f"{RUNS}/{RUN_ID}": proof_run(None) | {"state": "abandoned"}}
    await login(run)

    ran = await run("ledger", "verify")

    assert (1, "", 1) == (ran.code, ran.out, len(ran.err.splitlines()))
    assert "the run was abandoned at check 4 of 12" in ran.err
    assert "run the command again" in ran.err


async def test_verify_with_a_gateway_of_an_earlier_release(gateway: Any, run: Any) -> None:
    """A gateway that has no runs: exit code 1 and one line that says so."""
    await login(run)

    ran = await run("ledger", "verify")

    assert (1, "", 1) == (ran.code, ran.out, len(ran.err.splitlines()))
    assert "the gateway is of an earlier release" in ran.err


async def test_verify_with_a_recorded_head(gateway: Any, run: Any) -> None:
    """The newest block is printed; a recorded one is sent for verification; a malformed one is an error before any request."""
    head = f"12:{'ab' * 32}"
    gateway.documents[RUNS] = proof_run(proof(entries_ok=True) | {"head": {"number": 12, "hash": "ab" * 32}})
    await login(run)

    ran = await run("ledger", "verify", "--head", head)
    malformed = await run("ledger", "verify", "--head", "12")

    assert (ran.code, head in ran.out) == (0, True)
    assert {"full": False, "head": head} == gateway.seen(f"POST {RUNS}")[0].body
    assert (malformed.code, len(gateway.seen(f"POST {RUNS}"))) == (2, 1)
    assert "is not a head" in malformed.err


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_verify_names_the_failed_check(gateway: Any, run: Any, options: tuple[str, ...]) -> None:
    """A ledger that fails verification: exit code 3 and one line that names the check, also with --json."""
    gateway.documents[RUNS] = proof_run(proof(entries_ok=False))
    await login(run)

    ran = await run("ledger", "verify", *options)

    assert ran.code == 3
    assert ran.err == "payflow: the ledger failed verification: balances_equal_entries (account a-1, off_by 5)\n"
    assert "balances_equal_entries" in ran.out
