"""The routes of the wallet service on a real database: accounts, outcomes and the proof, field by field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web

from services.chassis import server
from services.chassis.client import Upstream
from services.chassis.database import Pool, close_pool
from services.chassis.replica import Reader
from services.chassis.roles import Runtime
from services.chassis.service_tokens import TokenVerifier
from services.contracts import money
from services.contracts.identifiers import new_id
from services.contracts.money import DEFAULT_CURRENCY
from services.contracts.refusal import Refusal
from services.wallet import api, commands, metrics
from services.wallet.commands import Void
from services.wallet.proof import prove, verify
from services.wallet.proof_runner import ProofRunner
from services.wallet.seal import Head
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import balance, fund, post, posting
from tests.harness.services import identities

SECONDS = 10.0
OPERATOR = new_id()
ANY_ID = "01a22e97-0000-7000-8000-000000000001"
"""A fixed id: the names of tests must be the same in every process that collects them."""
ACT = {"operator_id": str(OPERATOR), "request_id": "the-request-1"}


class Api:
    """The api of the wallet service on a free port, as the gateway and the transaction service call it."""

    def __init__(self, gateway: Upstream, transaction: Upstream, seal_pool: Pool) -> None:
        self.gateway = gateway
        self.transaction = transaction
        self.seal_pool = seal_pool

    async def get(self, path: str, **params: str) -> Any:
        return await self.gateway.call("GET", path, params=params, seconds=SECONDS)

    async def ask(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """The items that the transaction service receives."""
        result = await self.transaction.call("POST", path, body=body, seconds=SECONDS)
        items: list[dict[str, Any]] = result["items"]
        return items

    async def freeze(self, wallet: UUID, method: str = "PUT") -> Any:
        return await self.gateway.call(method, f"/internal/wallets/{wallet}/freeze", body=ACT, seconds=SECONDS)


@pytest.fixture
async def served(pool: Pool, wallet_database: TestDatabase) -> AsyncIterator[Api]:
    async with AsyncExitStack() as stack:
        proof_pool = await wallet_database.pool(wallet_database.proof_url)
        seal_pool = await wallet_database.pool(wallet_database.seal_url)
        # Writes through the pool for reads fail here.
        read_pool = await wallet_database.pool(default_transaction_read_only="on")
        for opened in (proof_pool, seal_pool, read_pool):
            stack.push_async_callback(close_pool, opened)
        keys = identities()
        app = server.application("wallet")
        app[api.POOL] = pool
        app[api.READ_POOL] = read_pool
        app[api.READER] = Reader(read_pool)
        app[api.PROOF_POOL] = proof_pool
        app[api.PROOF_RUNNER] = ProofRunner(pool, proof_pool, instance="test")
        Runtime(service="wallet", role="api", instance="test").run_beside(stack, app[api.PROOF_RUNNER].run())
        api.add_routes(app, TokenVerifier(keys["wallet"].public_keys, audience="wallet"))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        callers = [Upstream(name, "wallet", url, keys[name]) for name in ("gateway", "transaction")]
        for caller in callers:
            stack.push_async_callback(caller.close)
        gateway, transaction = callers
        yield Api(gateway, transaction, seal_pool)


async def external(pool: Pool, currency: str = "USD") -> UUID:
    [(account_id, _, _)] = await commands.find_accounts(pool, ids=[], owners=[], external=[currency])
    return account_id


@pytest.mark.parametrize(
    ("path", "params", "refusal"),
    [
        ("/internal/wallets", {}, (422, "invalid_request", "owner_id")),
        ("/internal/wallets", {"owner_id": "x"}, (422, "invalid_request", "owner_id")),
        ("/internal/wallets", {"owner_id": ANY_ID.replace("-", "")}, (422, "invalid_request", "owner_id")),
        ("/internal/wallets", {"owner_id": ANY_ID, "more": "1"}, (422, "invalid_request", "more")),
        ("/internal/wallets/x", {}, (404, "wallet_not_found", None)),
        ("/internal/wallets/x/balance", {}, (404, "wallet_not_found", None)),
        (f"/internal/wallets/{ANY_ID}/balance", {"at": "yesterday"}, (422, "invalid_request", "at")),
        (f"/internal/wallets/{ANY_ID}/balance", {"at": "2030-01-31T12:00:00"}, (422, "invalid_request", "at")),
        (f"/internal/wallets/{ANY_ID}/statement", {"limit": "many"}, (422, "invalid_request", "limit")),
        (f"/internal/wallets/{ANY_ID}/statement", {"limit": "201"}, (422, "invalid_request", "limit")),
        (f"/internal/wallets/{ANY_ID}/statement", {"cursor": "\xff"}, (422, "invalid_request", "cursor")),
        (f"/internal/wallets/{ANY_ID}/statement", {"cursor": "c2VxOngx"}, (422, "invalid_request", "cursor")),
        (f"/internal/wallets/{ANY_ID}/statement", {"from": "x"}, (422, "invalid_request", "from")),
        ("/internal/outcomes/x", {}, (404, "outcome_not_found", None)),
        (f"/internal/outcomes/{ANY_ID}", {}, (404, "outcome_not_found", None)),
        ("/internal/proof", {"full": "perhaps"}, (422, "invalid_request", "full")),
        ("/internal/proof", {"head": "x"}, (422, "invalid_request", "head")),
        ("/internal/proof", {"head": f"0:{'0' * 64}"}, (422, "invalid_request", "head")),
        ("/internal/proof", {"head": f"1:{'0' * 63}"}, (422, "invalid_request", "head")),
        ("/internal/audit", {"before": "2030-01-31T12:00:00Z/x"}, (422, "invalid_request", "cursor")),
        ("/internal/audit", {"before": "2030-01-31T12:00:00/1"}, (422, "invalid_request", "cursor")),
    ],
)
async def test_invalid_parameters_are_refused(
    served: Api, path: str, params: dict[str, str], refusal: tuple[int, str, str | None]
) -> None:
    """A parameter or id that cannot be read is a refusal that names the field, never a fault."""
    with pytest.raises(Refusal) as refused:
        await served.get(path, **params)

    fields = [error.field for error in refused.value.errors]
    assert refusal == (refused.value.status, refused.value.code, fields[0] if fields else None)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_an_external_account_cannot_be_frozen(served: Api, pool: Pool, method: str) -> None:
    """A frozen external account would stop all deposits. It is not a wallet, so it is not found, and deposits continue."""
    [alice] = await fund(pool, [100])
    world = await external(pool)

    with pytest.raises(Refusal) as refused:
        await served.freeze(world, method)

    assert (404, "wallet_not_found") == (refused.value.status, refused.value.code)
    assert not await pool.fetchval("SELECT bool_or(frozen) FROM accounts")
    assert 0 == await pool.fetchval("SELECT count(*) FROM audit_log")
    assert ["posted"] == await post(pool, posting(world, alice, 50))
    assert 150 == await balance(pool, alice)


async def test_freezing_is_audited(served: Api, pool: Pool) -> None:
    """Each action is audited in one row: action, actor, wallet and request; the response is the wallet."""
    alice, bob = await fund(pool, [100, 0])

    frozen = await served.freeze(alice)
    refused = await post(pool, posting(alice, bob, 1))
    opened = await served.freeze(alice, "DELETE")

    actions = (await served.get("/internal/audit"))["items"]
    assert ["wallet_unfrozen", "wallet_frozen"] == [action["action"] for action in actions]
    assert {(str(OPERATOR), str(alice), "the-request-1")} == {
        (action["actor_id"], action["subject"]["id"], action["request_id"]) for action in actions
    }
    assert ("frozen", ["rejected:wallet_frozen"], "open") == (frozen["status"], refused, opened["status"])
    assert ["posted"] == await post(pool, posting(alice, bob, 1))


async def test_an_admission_is_in_the_audit_log(served: Api, pool: Pool, wallet_database: TestDatabase) -> None:
    """The response to an admission, and the audit entry: action, actor, transfer, reason and request."""
    [alice] = await fund(pool, [100])
    late = new_id()
    await commands.void_transfers(pool, [commands.Void(late, "cancelled", bytes(32))])
    superuser = await asyncpg.connect(wallet_database.superuser_url)
    await superuser.execute(
        """INSERT INTO blocks SELECT 1, 1, sha256('x'), sha256('y'), now(), 1, now() + interval '1 hour', null, '{}', '',
           array_agg(id), decode(repeat('00', 32 * count(*)::int), 'hex') FROM accounts"""
    )
    await superuser.close()
    path, body = f"/internal/admissions/{late}", ACT | {"reason": "the clock was set back"}

    admitted = await served.gateway.call("PUT", path, body=body, seconds=SECONDS)
    [action] = (await served.get("/internal/audit"))["items"]
    mine = (await served.get("/internal/audit", user_id=str(OPERATOR), action="outcome_admitted"))["items"]

    assert {
        "transfer_id": str(late),
        "reason": "the clock was set back",
        "operator_id": str(OPERATOR),
        "block": None,
    } == {name: value for name, value in admitted.items() if name != "at"}
    assert ("outcome_admitted", {"kind": "transfer", "id": str(late)}) == (action["action"], action["subject"])
    assert ({"reason": "the clock was set back"}, "the-request-1") == (action["detail"], action["request_id"])
    assert [] == mine
    assert ["posted"] == await post(pool, posting(await external(pool), alice, 1))


async def test_what_is_on_hold_is_not_available(served: Api, pool: Pool) -> None:
    """Balance, hold and available balance are three numbers in every response; the ledger uses the available balance."""
    alice, bob = await fund(pool, [100, 0])
    await pool.execute("UPDATE accounts SET held = 30 WHERE id = $1", alice)

    [state] = await served.ask("/internal/availability", items=[{"wallet_id": str(alice), "transfer_ids": []}])
    wallet = await served.get(f"/internal/wallets/{alice}")
    now = await served.get(f"/internal/wallets/{alice}/balance")

    assert 70 == state["available"]
    for returned in (wallet, now):
        assert (100, 30, 70) == (returned["balance"], returned["held"], returned["available"])
    assert ["rejected:insufficient_funds", "posted"] == await post(
        pool, posting(alice, bob, 71), posting(alice, bob, 70)
    )
    await pool.execute("UPDATE accounts SET held = 0 WHERE id = $1", alice)  # the proof knows no hold


async def test_availability_has_one_item_per_wallet(served: Api, pool: Pool) -> None:
    """One item per wallet, in order: whether it is frozen, and which transfers have an outcome; null for an unknown wallet."""
    alice, bob = await fund(pool, [100, 50])
    await served.freeze(bob)
    done = [posting(alice, await external(pool), 1) for _ in range(2)]
    assert ["posted"] * 2 == await post(pool, *done)
    open_, unknown = new_id(), new_id()
    requested = {bob: [open_], unknown: [], alice: [done[1].transfer_id, open_, done[0].transfer_id]}

    items = [{"wallet_id": str(id_), "transfer_ids": [str(one) for one in ids]} for id_, ids in requested.items()]
    states = await served.ask("/internal/availability", items=items)

    assert [
        (str(bob), 50, True, []),
        (str(unknown), None, False, []),
        (str(alice), 98, False, [str(done[1].transfer_id), str(done[0].transfer_id)]),
    ] == [(one["wallet_id"], one["available"], one["frozen"], one["finalized"]) for one in states]


async def test_a_void_keeps_its_reason(served: Api, pool: Pool) -> None:
    """Results are in the order of the request, each with the reason of its void, also on repeat."""
    first, second = sorted((new_id() for _ in range(2)), reverse=True)
    items = [
        {"transfer_id": str(first), "reason": "cancelled", "request_hash": "ab" * 32},
        {"transfer_id": str(second), "reason": "timed_out", "request_hash": "cd" * 32},
    ]

    returned = await served.ask("/internal/void", items=items)
    again = await served.ask("/internal/void", items=[one | {"reason": "other"} for one in items])
    outcome = await served.get(f"/internal/outcomes/{first}")

    assert [(str(first), "voided", "cancelled"), (str(second), "voided", "timed_out")] == [
        (one["transfer_id"], one["outcome"], one["reason"]) for one in returned
    ]
    assert returned == again
    assert returned[0] == outcome
    row = await pool.fetchrow("SELECT request_hash, source_id FROM outcomes WHERE transfer_id = $1", second)
    assert row is not None
    assert (bytes.fromhex("cd" * 32), None) == tuple(row)


async def test_only_default_wallets_and_external_accounts_open_on_demand(served: Api, pool: Pool) -> None:
    """A wallet in another currency than the default one is not opened on demand: it is not found."""
    user = str(new_id())
    owners = [{"owner_id": user, "currency": code} for code in (DEFAULT_CURRENCY, "EUR")]

    found = await served.ask("/internal/wallets/find", owners=owners, external=["JPY"])
    again = await served.ask("/internal/wallets/find", owners=owners, external=["JPY"])

    assert {(user, DEFAULT_CURRENCY), (None, "JPY")} == {(one["owner_id"], one["currency"]) for one in found}
    assert sorted(one["id"] for one in found) == sorted(one["id"] for one in again)
    assert 2 == await pool.fetchval("SELECT count(*) FROM accounts")


async def test_a_wallet_is_opened_once(served: Api) -> None:
    """The first request opens it, the second one finds it."""
    body = {"owner_id": str(new_id()), "currency": "EUR"}

    wallets = [
        await served.gateway.call("POST", "/internal/wallets", body=body, seconds=SECONDS) for _ in range(2)
    ]  # fmt: skip

    assert 1 == len({wallet["id"] for wallet in wallets})
    assert ("EUR", 0, 0, 0) == tuple(wallets[0][name] for name in ("currency", "balance", "held", "available"))


async def test_the_default_wallet_is_always_there(served: Api) -> None:
    """The default-currency wallet always exists; the list is sorted by currency, and repeatable."""
    owner = str(new_id())
    await served.gateway.call(
        "POST", "/internal/wallets", body={"owner_id": owner, "currency": "CHF"}, seconds=SECONDS
    )  # fmt: skip
    await served.gateway.call(
        "POST", "/internal/wallets", body={"owner_id": owner, "currency": "AED"}, seconds=SECONDS
    )  # fmt: skip

    lists = [(await served.get("/internal/wallets", owner_id=owner))["items"] for _ in range(2)]

    assert ["AED", "CHF", DEFAULT_CURRENCY] == [wallet["currency"] for wallet in lists[0]]
    assert lists[0] == lists[1]


async def test_wallets_are_read_for_their_owners(served: Api, pool: Pool) -> None:
    """Several wallets in one request: each as its owner sees it, null for another user's, an external or an unknown one."""
    ids = [*await fund(pool, [100, 200]), await external(pool)]
    owners = [(await served.get(f"/internal/wallets/{id_}"))["owner_id"] for id_ in ids]
    alice, bob, source = ({"wallet_id": str(id_), "owner_id": owner} for id_, owner in zip(ids, owners, strict=True))
    foreign = [alice | {"owner_id": bob["owner_id"]}, source | {"owner_id": ANY_ID}, bob | {"wallet_id": ANY_ID}]

    body = {"items": [bob, *foreign, alice, bob]}
    read = (await served.gateway.call("POST", "/internal/balances", body=body, seconds=SECONDS))["items"]

    assert [True, False, False, False, True, True] == [item is not None for item in read]
    for item, wanted in ((read[0], bob), (read[4], alice), (read[5], bob)):
        assert await served.get(f"/internal/wallets/{wanted['wallet_id']}") == item["wallet"]
        balance = await served.get(f"/internal/wallets/{wanted['wallet_id']}/balance")
        assert balance == {name: item["wallet"].get(name, balance["as_of"]) for name in balance}
        assert item["as_of"] <= balance["as_of"]


async def test_the_balance_sheet_separates_customers_and_external_accounts(served: Api, pool: Pool) -> None:
    """Per currency: the balances of users, those of external accounts with the opposite sign, and a sum of zero."""
    await fund(pool, [100, 50])
    await fund(pool, [7], currency="EUR")

    sheet = await served.get("/internal/balance-sheet")

    assert [
        {"currency": "EUR", "customers": 7, "external": -7, "sum": 0},
        {"currency": "USD", "customers": 150, "external": -150, "sum": 0},
    ] == sheet["currencies"]


async def test_the_last_proof_is_returned_until_a_new_one_is_requested(served: Api, pool: Pool) -> None:
    """`full=1` makes a new run and stores it; a run with a required head is not stored."""
    await fund(pool, [100])
    await commands.seal_rows(served.seal_pool, recorded_head=None, thorough=True, with_accounts=True)

    first = await served.get("/internal/proof")
    repeated = await served.get("/internal/proof")
    full = await served.get("/internal/proof", full="1")
    lost = await served.get("/internal/proof", head=str(Head(9, bytes(32))))
    last = await served.get("/internal/proof")

    assert (True, 12) == (first["ok"], len(first["checks"]))
    assert first == repeated
    assert full["at"] > first["at"]
    assert ["recorded_blocks_present"] == [check["name"] for check in lost["checks"] if not check["ok"]]
    assert full == last


async def test_a_proof_run_is_followed_to_its_end(served: Api, pool: Pool) -> None:
    """A run is started, polled, and returns the proof; an unknown run is not found; unknown options are refused."""
    path = "/internal/proof-runs"
    await fund(pool, [100])

    started = await served.gateway.call("POST", path, body={"full": True, "head": None}, seconds=SECONDS)
    async with asyncio.timeout(60):
        while (run := await served.get(f"{path}/{started['id']}"))["state"] == "running":
            await asyncio.sleep(0.02)
    refusals = []
    for method, unknown, body in (("GET", f"{path}/{ANY_ID}", None), ("POST", path, {"full": "perhaps"})):
        with pytest.raises(Refusal) as refused:
            await served.gateway.call(method, unknown, body=body, seconds=SECONDS)
        refusals.append((refused.value.status, refused.value.code))

    assert (True, "passed", 12, 12) == (run["full"], run["state"], run["checks_done"], run["checks_total"])
    assert run["proof"] == await served.get("/internal/proof")
    assert [(404, "proof_run_not_found"), (422, "invalid_request")] == refusals


async def test_an_older_proof_does_not_replace_a_later_one(served: Api, pool: Pool) -> None:
    """Runs may overlap: whichever is stored last, of two that passed the later one is the last one."""
    later = await verify(served.seal_pool)
    older = replace_at(later)

    for run in (later, older):
        await commands.record_proof(pool, run)

    kept = await commands.find_last_proof(pool)
    assert kept is not None
    assert (later.at, True) == (kept.at, kept.ok)


def replace_at(proof: Any) -> Any:
    """The same run, a minute earlier."""
    return proof._replace(at=proof.at - timedelta(minutes=1))


async def test_outcomes_are_counted_one_by_one(pool: Pool) -> None:
    """Guarantee 10: each result is counted once under its outcome, repeats included; conflicts also have their own counter."""
    alice, bob = await fund(pool, [100, 0])
    item = posting(alice, bob, 1)
    forged = [posting(alice, bob, amount, transfer_id=item.transfer_id) for amount in (2, 3)]
    names = ("posted", "rejected", "voided", "conflict")
    before = [metrics.DECIDED.labels(name)._value.get() for name in names]
    conflicts = metrics.CONFLICTS._value.get()

    await post(pool, item, item, *forged, posting(alice, bob, 1000), posting(alice, bob, 1, seconds=-1))

    after = [metrics.DECIDED.labels(name)._value.get() for name in names]
    assert [2, 1, 1, 2] == [now - then for now, then in zip(after, before, strict=True)]
    assert 2 == metrics.CONFLICTS._value.get() - conflicts


async def test_the_gauges_show_the_result_of_the_proof(pool: Pool, wallet_database: TestDatabase) -> None:
    """Drift is the sum of the balances of a currency; the gauge of the proof is 1 if it passed and 0 if it failed."""
    [alice] = await fund(pool, [100])
    superuser = await wallet_database.pool(wallet_database.superuser_url)

    await superuser.execute("UPDATE accounts SET posted = posted + 3 WHERE id = $1", alice)
    await verify(superuser)
    broken = (metrics.DRIFT.labels("USD")._value.get(), metrics.PROVED._value.get())
    await superuser.execute("UPDATE accounts SET posted = posted - 3 WHERE id = $1", alice)
    await verify(superuser)
    await close_pool(superuser)

    assert (3, 0) == broken
    assert (0, 1) == (metrics.DRIFT.labels("USD")._value.get(), metrics.PROVED._value.get())


async def test_descriptions_and_accounts_are_recorded(pool: Pool) -> None:
    """The description and the accounts of a transfer are recorded with its outcome, posted or rejected."""
    alice, bob = await fund(pool, [100, 0])
    items = [posting(alice, bob, amount)._replace(description=f"rent {amount}") for amount in (10, 1000)]

    await post(pool, *items)

    rows = await pool.fetch(
        "SELECT outcome, description, source_id, destination_id, request_hash FROM outcomes WHERE transfer_id = ANY($1)",
        [item.transfer_id for item in items],
    )
    assert {
        ("posted", "rent 10", alice, bob, items[0].request_hash),
        ("rejected", "rent 1000", alice, bob, items[1].request_hash),
    } == {tuple(row) for row in rows}


async def test_voids_change_no_account(pool: Pool, wallet_database: TestDatabase) -> None:
    """A voided transfer leaves the books unchanged, and the proof passes."""
    await fund(pool, [100])
    [result] = await commands.void_transfers(pool, [Void(new_id(), "cancelled", bytes(32))])
    proof_pool = await wallet_database.pool(wallet_database.proof_url)

    proof = await prove(proof_pool)

    await close_pool(proof_pool)
    assert ("voided", True, 7) == (result.outcome, proof.ok, len(proof.checks))


async def test_a_withdrawn_currency_works_for_existing_wallets(
    pool: Pool, served: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a withdrawn currency transfers, reads and deposits work as before; only new wallets are refused."""
    owner = new_id()
    body = {"owner_id": str(owner), "currency": "EUR"}
    before = await served.gateway.call("POST", "/internal/wallets", body=body, seconds=SECONDS)
    [other] = await fund(pool, [100], currency="EUR")
    monkeypatch.setattr(money, "WITHDRAWN", frozenset({"EUR"}))

    again = await served.gateway.call("POST", "/internal/wallets", body=body, seconds=SECONDS)
    moved = await post(pool, posting(other, UUID(before["id"]), 30, currency="EUR"))
    with pytest.raises(Refusal) as refused:
        await served.gateway.call(
            "POST", "/internal/wallets", body={"owner_id": str(new_id()), "currency": "EUR"}, seconds=SECONDS
        )

    assert before["id"] == again["id"]
    assert ["posted"] == moved
    statement = await served.get(f"/internal/wallets/{before['id']}/statement")
    assert [30] == [line["amount"] for line in statement["items"]]
    assert (422, "invalid_request", "currency") == (
        refused.value.status, refused.value.code, refused.value.errors[0].field,
    )  # fmt: skip
    assert 2 == await pool.fetchval("SELECT count(*) FROM accounts WHERE owner_id IS NOT NULL AND currency = 'EUR'")
