"""The `payflow` command against the running stack, as an operator types it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from tests.harness.api import PASSWORD, Person
from tests.harness.stack import Stack

PAYFLOW = Path(sys.executable).with_name("payflow")


class Terminal:
    """Runs commands with a configuration folder of its own and the gateway of this stack."""

    def __init__(self, stack: Stack, home: Path, *, working: Path | None = None) -> None:
        self._working = working
        self._environment = os.environ | {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "PAYFLOW_GATEWAY": stack["gateway"],
        }

    async def run(self, *arguments: str, password: str = "", **environment: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = await asyncio.create_subprocess_exec(
            str(PAYFLOW),
            *arguments,
            env=self._environment | {"PAYFLOW_PASSWORD": password} | environment,
            cwd=self._working,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def terminal(stack: Stack, tmp_path: Path) -> Terminal:
    return Terminal(stack, tmp_path)


async def test_a_user_traces_a_transfer(terminal: Terminal, alice: Person, bob: Person) -> None:
    """After `payflow login` the sender sees every step of a transfer and the summary; another user sees nothing."""
    transfer = (await alice.send_money(bob, 5, wait=20)).body

    logged_in = await terminal.run("login", alice.email, password=PASSWORD)
    traced = await terminal.run("trace", transfer["id"])
    document = await terminal.run("trace", transfer["id"], "--json")
    await terminal.run("login", bob.email, password=PASSWORD)
    unknown = await terminal.run("trace", "0196f0c0-0000-7000-8000-000000000001")

    assert 0 == logged_in[0], logged_in
    assert all(step in traced[1] for step in ("accepted", "queued", "picked_up", "posted", "completed")), traced
    assert "COMPLETED" == json.loads(document[1])["status"]
    assert 1 == unknown[0]
    assert 1 == len(unknown[2].strip().splitlines())


async def test_an_operator_reads_queue_and_ledger(terminal: Terminal, alice: Person) -> None:
    """The operator sees the queue and verifies the ledger; a user may do neither and gets one line of error."""
    await terminal.run("login", "ops@example.com", password="payflow-demo-1")
    queue = await terminal.run("queue")
    verified = await terminal.run("ledger", "verify")
    sheet = await terminal.run("ledger", "balance-sheet", "--json")
    await terminal.run("login", alice.email, password=PASSWORD)
    refused = await terminal.run("ledger", "verify")

    assert (0, True) == (queue[0], "transfers.requested" in queue[1]), queue
    assert 0 == verified[0], verified
    assert {0} == {row["sum"] for row in json.loads(sheet[1])["currencies"]}
    assert refused[0] != 0
    assert 1 == len(refused[2].strip().splitlines())


async def test_an_operator_manages_users_and_keys(terminal: Terminal, bob: Person) -> None:
    """Show, promote, disable, enable and rotate, each also as JSON; an error is one line and a non-zero exit."""
    await terminal.run("login", "ops@example.com", password="payflow-demo-1")
    shown = await terminal.run("users", "show", bob.email)
    promoted = await terminal.run("users", "promote", bob.email, "--role", "operator", "--json")
    demoted = await terminal.run("users", "promote", bob.email, "--role", "user")
    disabled = await terminal.run("users", "disable", bob.email, "--reason", "a test", "--json")
    enabled = await terminal.run("users", "enable", bob.email)
    rotated = await terminal.run("keys", "rotate")
    again = await terminal.run("keys", "rotate", "--json")
    listed = await terminal.run("keys", "list")
    refused = [
        await terminal.run("users", "disable", "ops@example.com", "--reason", "tired"),
        await terminal.run("users", "show", "unknown@example.com"),
    ]

    done = (shown, promoted, demoted, disabled, enabled, rotated, again, listed)
    assert [0] * 8 == [code for code, _, _ in done], done
    assert (bob.user_id in shown[1], "operator") == (True, json.loads(promoted[1])["role"])
    assert "a test" == json.loads(disabled[1])["disabled"]["reason"]
    assert ("waiting", False) == (json.loads(again[1])["items"][-1]["state"], json.loads(again[1])["rotated"])
    assert "signing" in listed[1]
    assert [(1, 1)] * 2 == [(code, len(err.strip().splitlines())) for code, _, err in refused], refused


async def alter(stack: Stack, transfer_id: str, by: int) -> None:
    """Change the amount of a debit, bypassing the triggers, as a database superuser can."""
    connection = await asyncpg.connect(stack["databases"]["wallet"])
    try:
        async with connection.transaction():
            await connection.execute("ALTER TABLE entries DISABLE TRIGGER entries_append_only")
            await connection.execute(
                "UPDATE entries SET amount = amount + $2 WHERE transfer_id = $1 AND amount < 0", UUID(transfer_id), by
            )
            await connection.execute("ALTER TABLE entries ENABLE TRIGGER entries_append_only")
    finally:
        await connection.close()


async def test_verify_names_an_altered_entry(stack: Stack, terminal: Terminal, alice: Person, bob: Person) -> None:
    """Guarantee 16: a sealed entry is altered by a minor unit: `ledger verify` exits non-zero and names it; restored, 0."""
    transfer = (await alice.send_money(bob, 5, wait=20)).body
    sealed = "SELECT number FROM blocks WHERE $1 = ANY (outcomes)"
    async with asyncio.timeout(60):
        while not (blocks := await stack.query("wallet", sealed, UUID(transfer["id"]))):
            await asyncio.sleep(0.1)
    await terminal.run("login", "ops@example.com", password="payflow-demo-1")

    before = await terminal.run("ledger", "verify", "--json")
    head = json.loads(before[1])["head"]
    recorded = f"{head['number']}:{head['hash']}"
    await alter(stack, transfer["id"], -1)
    try:
        during = await terminal.run("ledger", "verify")
    finally:
        await alter(stack, transfer["id"], 1)
    after = await terminal.run("ledger", "verify", "--head", recorded)
    forged = await terminal.run("ledger", "verify", "--head", f"{head['number']}:{'0' * 64}")

    assert 0 == before[0], before
    assert 3 == during[0]
    assert f"transfer {transfer['id']} of block {blocks[0]['number']} has changed since it was sealed" in during[2]
    assert 0 == after[0], after
    assert (3, True) == (forged[0], f"block {head['number']}" in forged[2])
