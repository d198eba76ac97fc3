"""`payflow ticket` on the running stack: complete, and safe to attach."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from uuid import uuid4

from tests.e2e.test_command_line import Terminal
from tests.harness import leaks
from tests.harness.api import Person
from tests.harness.stack import Stack


async def test_everything_about_one_transfer(stack: Stack, alice: Person, bob: Person, tmp_path: Path) -> None:
    """The archive has trace, transfer, overview, proof, metrics, lines and versions, and no secret of the stack or the test."""
    note = f"for {alice.email} {uuid4().hex}"
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": bob.wallet_id}, "description": note}
    sent = await alice.post(
        "/transfers", body, key=uuid4().hex, headers={"Prefer": "wait=20", "X-Request-Id": "transaction"}
    )
    other = (await alice.post("/transfers", body, key=uuid4().hex, headers={"X-Request-Id": "transaction"})).body["id"]
    transfer = sent.body["id"]
    # The command line finds the local stack of its gateway below the working folder.
    (tmp_path / ".payflow").symlink_to(stack.home)
    terminal = Terminal(stack, tmp_path, working=tmp_path)
    await terminal.run("login", "ops@example.com", password="payflow-demo-1")
    made = await terminal.run("ticket", transfer, "--json")
    again = await terminal.run("ticket", transfer)
    remote = await terminal.run("ticket", transfer, "--output", "other.zip", PAYFLOW_LOKI_URL="http://127.0.0.1:1")

    assert 0 == made[0], made
    result = json.loads(made[1])
    assert {} == result["missing"]
    with zipfile.ZipFile(tmp_path / result["path"]) as archive:
        texts = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist()}
    assert sorted(texts) == result["files"]
    assert {"trace.json", "transfer.json", "overview.json", "proof.json", "metrics.json", "logs.jsonl"} < set(texts)
    lines = [json.loads(line) for line in texts["logs.jsonl"].splitlines()]
    events = {(line["source"], line["event"]) for line in lines if "event" in line}
    assert ("gateway", "transfers_accepted") in events
    assert "transfers_finalized" in {event for _, event in events}
    assert {"transaction-relay", "wallet"} <= set(json.loads(texts["metrics.json"])["processes"])
    assert "payflow_build_info" in texts["versions.json"]
    assert transfer in texts["README.txt"]
    assert other not in "".join(texts.values())
    (tmp_path / "checked").mkdir()
    (tmp_path / "checked" / "ticket.log").write_text("\n".join(texts.values()))
    secrets = leaks.known_secrets() | leaks.secrets_of(stack.home)
    assert [] == leaks.search(tmp_path / "checked", secrets | {note, alice.email, bob.email})
    assert (1, 1) == (again[0], len(again[2].strip().splitlines()))
    assert (0, True) == (remote[0], "missing: logs.jsonl: Loki at PAYFLOW_LOKI_URL: no connection" in remote[2]), remote
