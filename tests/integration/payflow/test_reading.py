"""Reads of the client: wallets, statements, transfers, timelines, and the results for operators."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from payflow.client import PayFlow
from payflow.errors import Problem, UnexpectedResponse
from tests.integration.payflow.conftest import audit_entry

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
WALLET = {
    "id": "w-usd",
    "owner_id": "u",
    "currency": "USD",
    "balance": 5000,
    "available": 4000,
    "held": 1000,
    "status": "open",
    "created_at": "2026-01-02T03:04:05.000006Z",
}
BALANCE = {"balance": 5000, "available": 4000, "held": 1000, "as_of": "2026-01-02T12:00:00.000000Z"}


def entry(seq: int) -> dict[str, Any]:
    return {
        "seq": seq,
        "transfer_id": f"t-{seq}",
        "amount": -10 * seq,
        "balance_after": 5000,
        "counterparty": {"wallet_id": "w-2", "name": "Bob"} if seq % 2 else None,
        "description": None,
        "created_at": "2026-01-02T03:04:05.000006Z",
    }


async def test_wallets(gateway: Any, alice: PayFlow) -> None:
    """Wallets have integer amounts, and times with a zone."""
    gateway.documents["/wallets"] = {"items": [WALLET], "next_cursor": None}

    (wallet,) = await alice.wallets()

    assert (wallet.id, wallet.balance, wallet.available, wallet.held) == ("w-usd", 5000, 4000, 1000)
    assert wallet.created_at == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


async def test_balance(gateway: Any, alice: PayFlow) -> None:
    """Without an id the balance is that of the wallet in US dollars; `at` is sent as UTC."""
    gateway.documents["/wallets"] = {
        "items": [{**WALLET, "id": "w-eur", "currency": "EUR"}, WALLET],
        "next_cursor": None,
    }
    gateway.documents["/wallets/w-usd/balance"] = BALANCE
    gateway.documents["/wallets/w-eur/balance"] = {**BALANCE, "balance": 7}

    assert (await alice.balance(at=NOON)).balance == 5000
    assert (await alice.balance("w-eur")).balance == 7
    assert gateway.seen("GET /wallets/w-usd/balance")[0].query == {"at": "2026-01-02T12:00:00.000000Z"}
    assert gateway.seen("GET /wallets/w-eur/balance")[0].query == {}


async def test_open_wallet(gateway: Any, alice: PayFlow) -> None:
    """A wallet in another currency is opened on demand."""
    gateway.documents["/wallets"] = {**WALLET, "currency": "EUR"}

    assert (await alice.open_wallet("EUR")).currency == "EUR"
    assert gateway.seen("POST /wallets")[0].body == {"currency": "EUR"}


async def test_statement(gateway: Any, alice: PayFlow) -> None:
    """A statement is read over all its pages, in the gateway's order, each page once."""
    gateway.documents["/wallets"] = {"items": [WALLET], "next_cursor": None}
    gateway.pages["/wallets/w-usd/statement"] = [entry(seq) for seq in (5, 4, 3, 2, 1)]

    entries = [found async for found in alice.statement(since=NOON)]

    assert [found.seq for found in entries] == [5, 4, 3, 2, 1]
    assert entries[0].counterparty is not None
    assert entries[0].counterparty.name == "Bob"
    assert entries[1].counterparty is None
    queries = [request.query for request in gateway.seen("GET /wallets/w-usd/statement")]
    assert [query.get("cursor") for query in queries] == [None, "2", "4"]
    assert {query["from"] for query in queries} == {"2026-01-02T12:00:00.000000Z"}


async def test_transfers(gateway: Any, alice: PayFlow) -> None:
    """The list of transfers has filters, and reads all pages; it may be empty."""
    gateway.pages["/transfers"] = []
    assert [transfer async for transfer in alice.transfers()] == []

    gateway.pages["/transfers"] = [
        gateway.add_transfer({"id": "u"}, str(number), {"amount": number, "currency": "USD"}) for number in (1, 2, 3)
    ]

    amounts = [transfer.amount async for transfer in alice.transfers(status="COMPLETED", wallet_id="w")]

    assert amounts == [1, 2, 3]
    assert gateway.seen("GET /transfers")[-1].query["status"] == "COMPLETED"


async def test_periods(gateway: Any, alice: PayFlow, ops: PayFlow) -> None:
    """Every list with a period sends `since` as `from` and `until` as `to`, in UTC to the microsecond."""
    gateway.documents["/wallets"] = {"items": [WALLET], "next_cursor": None}
    for path in ("/wallets/w-usd/statement", "/transfers", "/ops/audit"):
        gateway.pages[path] = []
    since, until = NOON, datetime(2026, 1, 3, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))

    assert [entry async for entry in alice.statement(since=since, until=until)] == []
    assert [transfer async for transfer in alice.transfers(since=since, until=until)] == []
    assert (await ops.operator.audit(since=since, until=until)).items == ()

    for path in ("/wallets/w-usd/statement", "/transfers", "/ops/audit"):
        query = gateway.seen(f"GET {path}")[-1].query
        assert (query["from"], query["to"]) == ("2026-01-02T12:00:00.000000Z", "2026-01-03T10:00:00.000001Z"), path


async def test_wallets_of_many_currencies(gateway: Any, alice: PayFlow) -> None:
    """All wallets are read, over all pages; the one in US dollars is found on any page."""
    codes = ["EUR", "GBP", "CHF", "USD", "JPY"]
    gateway.pages["/wallets"] = [{**WALLET, "id": f"w-{code.lower()}", "currency": code} for code in codes]
    gateway.documents["/wallets/w-usd/balance"] = BALANCE

    assert codes == [wallet.currency for wallet in await alice.wallets()]
    assert (await alice.balance()).balance == 5000


@pytest.mark.parametrize(("limit", "count", "has_more"), [(None, 5, False), (4, 4, True), (5, 5, False), (6, 5, False)])
async def test_a_list_that_is_cut_says_so(
    gateway: Any, ops: PayFlow, limit: int | None, count: int, has_more: bool
) -> None:
    """`has_more` is true exactly if `limit` left entries out."""
    gateway.pages["/ops/audit"] = [audit_entry(number) for number in range(5)]

    log = await ops.operator.audit(limit=limit)

    assert ([str(number) for number in range(count)], has_more) == (
        [entry.id for entry in log.items],
        log.has_more,
    )


async def test_pages_without_end(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A list whose next page is the same page again raises."""
    gateway.always["GET /transfers"] = faults.document({"items": [], "next_cursor": "same"})

    with pytest.raises(UnexpectedResponse):
        [transfer async for transfer in alice.transfers()]


async def test_transfer(gateway: Any, alice: PayFlow) -> None:
    """A transfer has all fields of the gateway's JSON, also unknown ones."""
    made = gateway.add_transfer({"id": "u"}, "k", {"amount": 3, "currency": "USD", "metadata": {"order": 7}})
    made |= {"status": "FAILED", "failure": {"code": "cancelled", "message": "You cancelled it."}, "added_later": True}
    gateway.polls_until_final = 10

    transfer = await alice.transfer(made["id"])

    assert transfer.failure is not None
    assert (transfer.failure.code, transfer.is_finalized, transfer.is_completed) == ("cancelled", True, False)
    assert transfer.metadata == {"order": 7}
    assert transfer.document["added_later"] is True


async def test_unknown_transfer(alice: PayFlow) -> None:
    """An unknown id is refused by the gateway, after one request; a slash in it does not change the path."""
    for strange in ("unknown", "../wallets", "x?y=z"):
        with pytest.raises(Problem, match="transfer_not_found"):
            await alice.transfer(strange)


async def test_reads_are_repeated(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A read with a transient error is retried."""
    gateway.documents["/wallets"] = {"items": [], "next_cursor": None}
    gateway.fail("GET /wallets", faults.refuse(503, "unavailable"), faults.cut(after=False))

    assert await alice.wallets() == []
    assert len(gateway.seen("GET /wallets")) == 3


async def test_cancel(gateway: Any, alice: PayFlow) -> None:
    """A cancellation returns the transfer."""
    made = gateway.add_transfer({"id": "u"}, "k", {"amount": 3, "currency": "USD"})
    gateway.documents[f"/transfers/{made['id']}/cancel"] = {**made, "status": "FAILED"}

    assert (await alice.cancel(made["id"])).status == "FAILED"


async def test_timeline(gateway: Any, alice: PayFlow, ops: PayFlow, timeline: Any) -> None:
    """A user's own timeline and an operator's have different routes."""
    gateway.documents["/transfers/t-1/timeline"] = timeline("t-1")
    gateway.documents["/ops/transfers/t-1/timeline"] = timeline("t-1", waiting_for="worker")

    own = await alice.timeline("t-1")
    operators = await ops.operator.timeline("t-1")

    assert [step.step for step in own.steps] == ["accepted", "queued", "picked_up"]
    assert own.waiting_for is None
    assert operators.waiting_for == "worker"
    assert operators.unavailable == ("wallet",)
    assert own.document["added_later"] == 1


async def test_overview(gateway: Any, ops: PayFlow) -> None:
    """Unavailable figures are None, not zero."""
    gateway.documents["/ops/overview"] = {
        "queues": [{"name": "transfers.requested", "transfers": 3, "zone": "normal", "oldest_seconds": 2}],
        "outbox": None,
        "pending": 4,
        "proof": None,
        "jobs": [{"name": "reversal", "last_success": None}],
        "services": [{"name": "wallet", "ready": False}],
    }

    overview = await ops.operator.overview()

    assert (overview.queues[0].transfers, overview.queues[0].messages) == (3, None)
    assert (overview.outbox_unpublished, overview.pending, overview.dead_letters) == (None, 4, None)
    assert overview.proof_ok is None
    assert overview.jobs[0].last_success is None
    assert not overview.services[0].ready


async def test_operator_required(alice: PayFlow) -> None:
    """The calls of operators are refused for other users."""
    with pytest.raises(Problem) as caught:
        await alice.operator.overview()

    assert (caught.value.status, caught.value.code) == (403, "operator_required")


async def test_proof(gateway: Any, ops: PayFlow) -> None:
    """The last proof is read, or a full one requested; a failed check makes the proof fail, whatever its own `ok`."""
    checks = [{"name": "conserved", "ok": True, "detail": None}, {"name": "entries", "ok": False, "detail": "a-1"}]
    gateway.documents["/ops/ledger/proof"] = {"ok": True, "at": "2026-01-02T12:00:00.000000Z", "checks": checks}

    proof = await ops.operator.proof()
    await ops.operator.proof(full=True)

    assert not proof.ok
    assert [check.name for check in proof.failing] == ["entries"]
    assert [request.query for request in gateway.seen("GET /ops/ledger/proof")] == [{}, {"full": "1"}]


async def test_balance_sheet(gateway: Any, ops: PayFlow) -> None:
    """The sums by currency are integers."""
    rows = [{"currency": "USD", "customers": 10**16, "external": -(10**16), "sum": 0}]
    gateway.documents["/ops/ledger/balance-sheet"] = {"as_of": "2026-01-02T12:00:00Z", "currencies": rows}

    sheet = await ops.operator.balance_sheet()

    assert (sheet.currencies[0].customers, sheet.currencies[0].sum) == (10**16, 0)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"items": 1},
        {"items": [{**WALLET, "balance": 50.0}]},
        {"items": [{**WALLET, "created_at": "now"}]},
    ],
)
async def test_response_of_another_shape(gateway: Any, faults: Any, alice: PayFlow, document: Any) -> None:
    """A response that is not a list of wallets, or has a float for money, raises UnexpectedResponse."""
    gateway.fail("GET /wallets", faults.document(document))

    with pytest.raises(UnexpectedResponse):
        await alice.wallets()


async def test_redirect_is_not_followed(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """The token is sent only to the gateway."""
    gateway.fail("GET /wallets", faults.respond("", status=302, headers={"Location": f"{gateway.url}/elsewhere"}))

    with pytest.raises(UnexpectedResponse):
        await alice.wallets()

    assert gateway.seen("GET /elsewhere") == []


async def test_refusal_of_a_proxy(gateway: Any, faults: Any, alice: PayFlow) -> None:
    """A refusal without a problem document is a Problem too."""
    gateway.fail("GET /wallets", faults.respond("<h1>No</h1>", status=403))

    with pytest.raises(Problem) as caught:
        await alice.wallets()

    assert (caught.value.status, caught.value.code) == (403, "http_403")


def dead_letter(**changes: Any) -> dict[str, Any]:
    return {
        "id": "d-1",
        "queue": "transfers.requested",
        "state": "waiting",
        "reason": "poison",
        "attempts": 6,
        "message_id": "m-1",
        "transfer_ids": ["t-1", "t-2"],
        "request_ids": ["r-1"],
        "seen": 2,
        "first_seen_at": "2026-01-02T12:00:00Z",
        "last_seen_at": "2026-01-02T12:00:01Z",
        "replays": 0,
        "replayed_at": None,
        "discarded_at": None,
        "discard_reason": None,
    } | changes


async def test_dead_letters(gateway: Any, ops: PayFlow) -> None:
    """A list of dead letters, one with its body, its replay and its discard are read into fields; the JSON stays there."""
    gateway.pages["/ops/dead-letters"] = [dead_letter(), dead_letter(id="d-2"), dead_letter(id="d-3")]
    gateway.documents["/ops/dead-letters/d-1"] = dead_letter(body=None, body_base64="AP8=", added_later=1)
    effect = {
        "transfer_id": "t-1",
        "status": "PENDING",
        "effect": "post",
        "detail": "The money moves.",
        "outcome": None,
        "outcome_known": False,
    }
    replay = {"dead_letter": dead_letter(), "dry_run": True, "replayable": True, "detail": "…", "transfers": [effect]}
    gateway.documents["/ops/dead-letters/d-1/replay"] = replay
    gateway.documents["/ops/dead-letters/d-1/discard"] = dead_letter(state="discarded", discard_reason="a test")

    listed = await ops.operator.dead_letters()
    detail = await ops.operator.dead_letter("d-1")
    replayed = await ops.operator.replay_dead_letter("d-1", dry_run=True)
    discarded = await ops.operator.discard_dead_letter("d-1", "a test")

    assert ["d-1", "d-2", "d-3"] == [found.id for found in listed.items]
    assert (("t-1", "t-2"), 6, 2) == (listed.items[0].transfer_ids, listed.items[0].attempts, listed.items[0].seen)
    assert listed.document == {"items": gateway.pages["/ops/dead-letters"], "unavailable": [], "has_more": False}
    assert (None, "AP8=", 1) == (detail.body, detail.body_base64, detail.document["added_later"])
    assert (True, "post", False) == (
        replayed.dry_run,
        replayed.transfers[0].effect,
        replayed.transfers[0].outcome_known,
    )
    assert ("discarded", "a test") == (discarded.state, discarded.discard_reason)
    assert {"dry_run": "true"} == gateway.seen("POST /ops/dead-letters/d-1/replay")[0].query


async def test_audit_log(gateway: Any, ops: PayFlow) -> None:
    """An entry names time, service, action, actor and subject."""
    gateway.pages["/ops/audit"] = [audit_entry(1) | {"subject": {"kind": "wallet", "id": "w-1"}}, audit_entry(2)]

    first, second = (await ops.operator.audit(action="login")).items

    assert (NOON, "auth", "login", "a") == (first.at, first.service, first.action, first.actor_id)
    assert first.subject is not None
    assert (("wallet", "w-1"), None) == ((first.subject.kind, first.subject.id), second.subject)
    assert "login" == gateway.seen("GET /ops/audit")[0].query["action"]


async def test_a_document_of_another_shape(gateway: Any, ops: PayFlow) -> None:
    """A list whose items lack fields raises UnexpectedResponse, as every other document does."""
    gateway.pages["/ops/audit"] = gateway.pages["/ops/dead-letters"] = [{"id": "1"}]

    with pytest.raises(UnexpectedResponse):
        await ops.operator.audit()
    with pytest.raises(UnexpectedResponse):
        await ops.operator.dead_letters()
