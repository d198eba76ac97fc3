"""One real transfer, from Alice to Bob, shown hop by hop, and the proof that it moved exactly once."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.person import Person, client
from deploy.local.seed import ALICE, BOB, CURRENCY, OPERATOR, PASSWORD
from deploy.local.trouble import Trouble

AMOUNT_MINOR = 1_250
WAIT_SECONDS = 30
NOTIFICATION_SECONDS_MAX = 5.0
NOTIFICATION_POLL_SECONDS = 0.1
STATEMENT_ITEMS_MAX = 50


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of one transfer from outside."""

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
        Trouble: the money did not move exactly once, or the books do not balance.
    """
    console = Console()
    async with client() as session:
        alice, bob, operator = (Person(session, gateway, email, PASSWORD) for email in (ALICE, BOB, OPERATOR))
        await asyncio.gather(alice.log_in(), bob.log_in(), operator.log_in())
        source, target = await asyncio.gather(alice.wallet(CURRENCY), bob.wallet(CURRENCY))
        transfer = await _send(alice)
        timeline = await _timeline(alice, transfer)
        console.print(timeline_table(timeline, transfer))
        sight = await _look(alice, bob, operator, before=(source, target), transfer=transfer)
        console.print(balance_table(sight))
        console.print(proof_table(sight.proof))
    faults = find_faults(sight)
    if faults:
        raise Trouble("the demo failed: " + "; ".join(faults))
    console.print(f"{money(AMOUNT_MINOR)} moved from Alice to Bob exactly once.")


async def _send(alice: Person) -> dict[str, Any]:
    transfer = await alice.post(
        "/transfers",
        {"currency": CURRENCY, "amount": AMOUNT_MINOR, "to": {"email": BOB}, "description": "Lunch, thank you!"},
        **{"Idempotency-Key": f"demo-{uuid.uuid4()}", "Prefer": f"wait={WAIT_SECONDS}"},
    )
    return await alice.outcome(transfer)


async def _timeline(alice: Person, transfer: dict[str, Any]) -> dict[str, Any]:
    """The timeline, once the notification is in it: that step comes after the outcome."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + NOTIFICATION_SECONDS_MAX
    while True:
        timeline: dict[str, Any] = await alice.get(f"/transfers/{transfer['id']}/timeline")
        if any(step["step"] == "notified" for step in timeline["steps"]) or loop.time() > deadline:
            return timeline
        await asyncio.sleep(NOTIFICATION_POLL_SECONDS)


async def _look(
    alice: Person,
    bob: Person,
    operator: Person,
    *,
    before: tuple[dict[str, Any], dict[str, Any]],
    transfer: dict[str, Any],
) -> Sight:
    source, target = before
    source_after, target_after, debits, credited, proof = await asyncio.gather(
        alice.wallet(CURRENCY),
        bob.wallet(CURRENCY),
        _entries(alice, source["id"], transfer["id"]),
        _entries(bob, target["id"], transfer["id"]),
        operator.get("/ops/ledger/proof?full=1"),
    )
    return Sight(
        transfer=transfer,
        alice_before=source["balance"],
        alice_after=source_after["balance"],
        bob_before=target["balance"],
        bob_after=target_after["balance"],
        debits=debits,
        credits=credited,
        proof=proof,
    )


async def _entries(person: Person, wallet_id: str, transfer_id: str) -> list[int]:
    """The amounts of a transfer's entries on one of a person's wallets."""
    statement = await person.get(f"/wallets/{wallet_id}/statement?limit={STATEMENT_ITEMS_MAX}")
    return [entry["amount"] for entry in statement["items"] if entry["transfer_id"] == transfer_id]


def find_faults(sight: Sight) -> list[str]:
    """What is wrong with what was seen; nothing if the money moved exactly once."""
    moved_out, moved_in = sight.alice_after - sight.alice_before, sight.bob_after - sight.bob_before
    checks = [
        (sight.transfer["status"] == "COMPLETED", f"the transfer is {sight.transfer['status']}"),
        (moved_out == -AMOUNT_MINOR, f"Alice's balance changed by {moved_out} instead of {-AMOUNT_MINOR}"),
        (moved_in == AMOUNT_MINOR, f"Bob's balance changed by {moved_in} instead of {AMOUNT_MINOR}"),
        (sight.debits == [-AMOUNT_MINOR], f"Alice's statement has the entries {sight.debits}"),
        (sight.credits == [AMOUNT_MINOR], f"Bob's statement has the entries {sight.credits}"),
        (sight.proof["ok"] is True, "the ledger proof found a fault"),
    ]
    return [fault for holds, fault in checks if not holds]


def timeline_table(timeline: dict[str, Any], transfer: dict[str, Any]) -> Table:
    """The hops of a transfer, in milliseconds since it was accepted."""
    table = Table(title=f"Transfer {transfer['id']}: {transfer['status']}")
    table.add_column("ms", justify="right")
    for heading in ("service", "step", "detail"):
        table.add_column(heading)
    accepted = datetime.fromisoformat(transfer["created_at"])
    for step in timeline["steps"]:
        elapsed = datetime.fromisoformat(step["at"]) - accepted
        table.add_row(f"{elapsed.total_seconds() * 1000:.1f}", step["service"], step["step"], _detail(step["detail"]))
    return table


def balance_table(sight: Sight) -> Table:
    """Both balances before and after."""
    table = Table(title="Balances")
    table.add_column("wallet")
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    rows = [("Alice", sight.alice_before, sight.alice_after), ("Bob", sight.bob_before, sight.bob_after)]
    for name, before, after in rows:
        table.add_row(name, money(before), money(after), money(after - before))
    return table


def proof_table(proof: dict[str, Any]) -> Table:
    """What the ledger proved about all of itself."""
    table = Table(title=f"Ledger proof: {'holds' if proof['ok'] else 'FAILED'}")
    for heading in ("check", "result", "detail"):
        table.add_column(heading)
    for check in proof["checks"]:
        table.add_row(check["name"], "ok" if check["ok"] else "FAILED", _detail(check.get("detail")))
    return table


def money(amount_minor: int) -> str:
    """An amount of US dollars for a person."""
    sign = "-" if amount_minor < 0 else ""
    whole, cents = divmod(abs(amount_minor), 100)
    return f"{sign}{whole:,}.{cents:02d} {CURRENCY}"


def _detail(detail: Any) -> str:
    if isinstance(detail, dict):
        return ", ".join(f"{name} {value}" for name, value in detail.items() if value is not None)
    return "" if detail is None else str(detail)
