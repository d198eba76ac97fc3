"""One real transfer, from Alice to Bob, shown step by step, and the proof that it moved exactly once."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.errors import LocalError
from deploy.local.seed import ALICE, BOB, CURRENCY, OPERATOR, PASSWORD
from deploy.local.user import User, http_session

AMOUNT_MINOR = 1_250
WAIT_SECONDS = 30
NOTIFICATION_SECONDS_MAX = 5.0
NOTIFICATION_POLL_SECONDS = 0.1
STATEMENT_ITEMS_MAX = 50


@dataclass(frozen=True, slots=True)
class Observation:
    """One transfer as its sender, its receiver and an operator see it."""

    transfer: dict[str, Any]
    alice_before: int
    alice_after: int
    bob_before: int
    bob_after: int
    debits: list[int]
    credits: list[int]
    proof: dict[str, Any]


async def demo(gateway: str) -> None:
    """Send 12.50 USD, print timeline, balances and proof.

    Raises:
        LocalError: the money did not move exactly once, or the ledger fails its checks.
    """
    console = Console()
    async with http_session() as session:
        alice, bob, operator = (User(session, gateway, email, PASSWORD) for email in (ALICE, BOB, OPERATOR))
        await asyncio.gather(alice.log_in(), bob.log_in(), operator.log_in())
        source, target = await asyncio.gather(alice.wallet(CURRENCY), bob.wallet(CURRENCY))
        transfer = await _send(alice)
        timeline = await _timeline(alice, transfer)
        console.print(timeline_table(timeline, transfer))
        seen = await _observe(alice, bob, operator, before=(source, target), transfer=transfer)
        console.print(balance_table(seen))
        console.print(proof_table(seen.proof))
    faults = find_faults(seen)
    if faults:
        raise LocalError("the demo failed: " + "; ".join(faults))
    console.print(f"{money(AMOUNT_MINOR)} moved from Alice to Bob exactly once.")


async def _send(alice: User) -> dict[str, Any]:
    transfer = await alice.post(
        "/transfers",
        {"currency": CURRENCY, "amount": AMOUNT_MINOR, "to": {"email": BOB}, "description": "Lunch, thank you!"},
        **{"Idempotency-Key": f"demo-{uuid.uuid4()}", "Prefer": f"wait={WAIT_SECONDS}"},
    )
    return await alice.outcome(transfer)


async def _timeline(alice: User, transfer: dict[str, Any]) -> dict[str, Any]:
    """The timeline with the notification, which comes after the outcome."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + NOTIFICATION_SECONDS_MAX
    while True:
        timeline: dict[str, Any] = await alice.get(f"/transfers/{transfer['id']}/timeline")
        if any(step["step"] == "notified" for step in timeline["steps"]) or loop.time() > deadline:
            return timeline
        await asyncio.sleep(NOTIFICATION_POLL_SECONDS)


async def _observe(
    alice: User,
    bob: User,
    operator: User,
    *,
    before: tuple[dict[str, Any], dict[str, Any]],
    transfer: dict[str, Any],
) -> Observation:
    source, target = before
    source_after, target_after, debits, credited, proof = await asyncio.gather(
        alice.wallet(CURRENCY),
        bob.wallet(CURRENCY),
        _entries(alice, source["id"], transfer["id"]),
        _entries(bob, target["id"], transfer["id"]),
        operator.get("/ops/ledger/proof?full=1"),
    )
    return Observation(
        transfer=transfer,
        alice_before=source["balance"],
        alice_after=source_after["balance"],
        bob_before=target["balance"],
        bob_after=target_after["balance"],
        debits=debits,
        credits=credited,
        proof=proof,
    )


async def _entries(user: User, wallet_id: str, transfer_id: str) -> list[int]:
    """The amounts of a transfer's entries on one of a user's wallets."""
    statement = await user.get(f"/wallets/{wallet_id}/statement?limit={STATEMENT_ITEMS_MAX}")
    return [entry["amount"] for entry in statement["items"] if entry["transfer_id"] == transfer_id]


def find_faults(seen: Observation) -> list[str]:
    """What contradicts that the money moved exactly once; empty if nothing does."""
    moved_out, moved_in = seen.alice_after - seen.alice_before, seen.bob_after - seen.bob_before
    checks = [
        (seen.transfer["status"] == "COMPLETED", f"the transfer is {seen.transfer['status']}"),
        (moved_out == -AMOUNT_MINOR, f"Alice's balance changed by {moved_out} instead of {-AMOUNT_MINOR}"),
        (moved_in == AMOUNT_MINOR, f"Bob's balance changed by {moved_in} instead of {AMOUNT_MINOR}"),
        (seen.debits == [-AMOUNT_MINOR], f"Alice's statement has the entries {seen.debits}"),
        (seen.credits == [AMOUNT_MINOR], f"Bob's statement has the entries {seen.credits}"),
        (seen.proof["ok"] is True, "a check of the ledger failed"),
    ]
    return [fault for holds, fault in checks if not holds]


def timeline_table(timeline: dict[str, Any], transfer: dict[str, Any]) -> Table:
    """The steps of a transfer, in milliseconds since it was accepted."""
    table = Table(title=f"Transfer {transfer['id']}: {transfer['status']}")
    table.add_column("ms", justify="right")
    for heading in ("service", "step", "detail"):
        table.add_column(heading)
    accepted = datetime.fromisoformat(transfer["created_at"])
    for step in timeline["steps"]:
        elapsed = datetime.fromisoformat(step["at"]) - accepted
        table.add_row(f"{elapsed.total_seconds() * 1000:.1f}", step["service"], step["step"], _detail(step["detail"]))
    return table


def balance_table(seen: Observation) -> Table:
    """Both balances before and after."""
    table = Table(title="Balances")
    table.add_column("wallet")
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    rows = [("Alice", seen.alice_before, seen.alice_after), ("Bob", seen.bob_before, seen.bob_after)]
    for name, before, after in rows:
        table.add_row(name, money(before), money(after), money(after - before))
    return table


def proof_table(proof: dict[str, Any]) -> Table:
    """The result of each check of the ledger."""
    table = Table(title=f"Ledger proof: {'passed' if proof['ok'] else 'FAILED'}")
    for heading in ("check", "result", "detail"):
        table.add_column(heading)
    for check in proof["checks"]:
        table.add_row(check["name"], "ok" if check["ok"] else "FAILED", _detail(check.get("detail")))
    return table


def money(amount_minor: int) -> str:
    """An amount of US dollars as text."""
    sign = "-" if amount_minor < 0 else ""
    whole, cents = divmod(abs(amount_minor), 100)
    return f"{sign}{whole:,}.{cents:02d} {CURRENCY}"


def _detail(detail: Any) -> str:
    if isinstance(detail, dict):
        return ", ".join(f"{name} {value}" for name, value in detail.items() if value is not None)
    return "" if detail is None else str(detail)
