"""Money through the public API: one transfer, ten thousand, and every accidental misuse by a client."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from tests.harness.api import ApiClient, Person, Response
from tests.harness.drills import bound
from tests.harness.stack import Stack

REQUESTS = bound(2_000, 10_000)
CLIENTS = 50


async def test_one_transfer_from_gateway_to_notification(alice: Person, bob: Person) -> None:
    """A transfer by e-mail: 202 and a Location, then COMPLETED, both balances, statements, notifications, the timeline."""
    body = {"amount": 1250, "currency": "USD", "to": {"email": bob.email}, "description": "Lunch", "metadata": {"n": 1}}
    accepted = await alice.post("/transfers", body, key=uuid4().hex)
    transfer_id = accepted.body["id"]
    done = await alice.finalized(transfer_id)

    assert (202, "PENDING", None) == (accepted.status, accepted.body["status"], accepted.body["completed_at"])
    assert f"/api/v1/transfers/{transfer_id}" == accepted.headers["Location"]
    assert ("COMPLETED", None) == (done["status"], done["failure"])
    assert (98_750, 1250) == (await alice.balance(), await bob.balance())
    for person, amount in ((alice, -1250), (bob, 1250)):
        [line] = [
            line
            for line in (await person.get(f"/wallets/{person.wallet_id}/statement")).body["items"]
            if line["transfer_id"] == transfer_id
        ]
        assert (amount, "Lunch") == (line["amount"], line["description"])
    assert bob.wallet_id == done["to_wallet_id"]
    seen_by_bob = (await bob.get(f"/transfers/{transfer_id}")).body
    assert ("COMPLETED", None) == (seen_by_bob["status"], seen_by_bob["metadata"])
    assert ["transfer_completed"] == await notifications(alice, transfer_id)
    assert ["transfer_received"] == await notifications(bob, transfer_id)


async def test_a_balance_is_exact_for_every_reader_of_json(api: ApiClient, operator: Person) -> None:
    """Guarantee 16c: a wallet holds at most 2^53 - 1; only the totals of all wallets may be larger."""
    limit = 9_007_199_254_740_991
    saver = await api.register()
    for amount in [10**15] * 9 + [limit - 9 * 10**15 - 1]:
        await operator.fund(saver, amount)
    body = {"wallet_id": saver.wallet_id, "currency": "USD", "reference": "test"}
    too_much, fits = [
        await operator.post("/ops/deposits", body | {"amount": amount}, key=uuid4().hex, headers={"Prefer": "wait=30"})
        for amount in (2, 1)
    ]
    await operator.fund(await api.register(), 3)

    assert ("FAILED", "balance_limit") == (too_much.body["status"], too_much.body["failure"]["code"])
    assert "COMPLETED" == fits.body["status"]
    wallet = (await saver.get(f"/wallets/{saver.wallet_id}")).body
    [line] = (await saver.get(f"/wallets/{saver.wallet_id}/statement?limit=1")).body["items"]
    assert [limit] * 3 == [wallet["balance"], wallet["available"], line["balance_after"]]
    assert limit == int(float(limit))
    sheet = (await operator.get("/ops/ledger/balance-sheet")).body["currencies"]
    [dollars] = [row for row in sheet if row["currency"] == "USD"]
    assert dollars["customers"] > limit
    assert (0, -dollars["external"]) == (dollars["sum"], dollars["customers"])


async def notifications(person: Person, transfer_id: str) -> list[str]:
    """The kinds of this user's notifications about a transfer, once there is one."""
    async with asyncio.timeout(30):
        while True:
            items = (await person.get("/notifications")).body["items"]
            kinds = [item["kind"] for item in items if item["transfer_id"] == transfer_id]
            if kinds:
                return kinds
            await asyncio.sleep(0.05)


async def test_the_timeline_shows_every_hop(alice: Person, bob: Person) -> None:
    """The timeline of a completed transfer names every hop, in time order, and waits for nothing."""
    accepted = await alice.send_money(bob, 5)
    await notifications(alice, accepted.body["id"])

    timeline = (await alice.get(f"/transfers/{accepted.body['id']}/timeline")).body

    steps = [step["step"] for step in timeline["steps"]]
    assert {"accepted", "queued", "picked_up", "posted", "completed", "notified"} == set(steps)
    assert sorted(step["at"] for step in timeline["steps"]) == [step["at"] for step in timeline["steps"]]
    assert (None, [], "COMPLETED") == (timeline["waiting_for"], timeline["unavailable"], timeline["status"])


async def test_thousands_of_transfers(stack: Stack, api: ApiClient, operator: Person) -> None:
    """Guarantee 1: 2,000 transfers (in full 10,000), some unaffordable; all final, 99 % within 5 s, statuses equal outcomes."""
    people = await asyncio.gather(*(api.register() for _ in range(30)))
    for person in people[:25]:
        await operator.fund(person, 4_000)
    ids: list[str] = []

    async def client(number: int) -> None:
        rng = random.Random(number)
        for _ in range(REQUESTS // CLIENTS):
            sender, receiver = rng.sample(people, 2)
            while (response := await sender.send_money(receiver, rng.randint(1, 120))).status == 503:
                await asyncio.sleep(1)
            if response.status == 202:
                ids.append(response.body["id"])
            else:
                assert "insufficient_funds" == response.code

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    async with asyncio.timeout(90):
        while (await stack.query("transaction", "SELECT count(*) AS n FROM transfers WHERE status = 'PENDING'"))[0][
            "n"
        ]:
            await asyncio.sleep(0.1)

    rows = await stack.query(
        "transaction",
        "SELECT id, status, extract(epoch FROM coalesce(completed_at, failed_at) - created_at)::float8 AS took "
        "FROM transfers WHERE id = ANY($1::uuid[])",
        ids,
    )
    outcomes = {
        row["transfer_id"]: row["outcome"]
        for row in await stack.query(
            "wallet", "SELECT transfer_id, outcome FROM outcomes WHERE transfer_id = ANY($1::uuid[])", ids
        )
    }
    status_of = {"posted": "COMPLETED", "rejected": "FAILED", "voided": "FAILED"}
    assert len(ids) > REQUESTS // 2
    assert len(ids) == len(rows)
    assert all(status_of[outcomes[row["id"]]] == row["status"] for row in rows)
    assert sorted(row["took"] for row in rows)[int(len(rows) * 0.99)] < 5
    assert 100_000 == sum(await asyncio.gather(*(person.balance() for person in people)))


async def test_concurrent_duplicates_create_one_transfer(alice: Person, bob: Person) -> None:
    """Guarantee 17: one key a hundred times at once with the whole balance; one transfer, one response for all."""
    key = uuid4().hex

    responses = await asyncio.gather(*(alice.send_money(bob, 100_000, key=key) for _ in range(100)))
    done = await alice.finalized(next(a.body["id"] for a in responses if a.status == 202))
    later = await alice.send_money(bob, 100_000, key=key)

    accepted = [response for response in responses if response.status == 202]
    assert {202, 409} >= {response.status for response in responses}
    assert 1 == sum("Idempotent-Replayed" not in response.headers for response in accepted)
    assert [accepted[0].body] * len(accepted) == [response.body for response in accepted]
    assert (accepted[0].body, "true") == (later.body, later.headers["Idempotent-Replayed"])
    assert "COMPLETED" == done["status"]
    assert 100_000 == await bob.balance()


async def test_fifty_spend_the_same_balance(alice: Person, bob: Person) -> None:
    """Guarantee 13: 50 transfers of the full balance at once; exactly one completes."""
    responses = await asyncio.gather(*(alice.send_money(bob, 100_000) for _ in range(50)))
    done = [await alice.finalized(response.body["id"]) for response in responses if response.status == 202]

    assert {202, 422} >= {response.status for response in responses}
    assert 1 == sum(transfer["status"] == "COMPLETED" for transfer in done)
    assert (0, 100_000) == (await alice.balance(), await bob.balance())


async def test_key_rules(alice: Person, bob: Person) -> None:
    """Guarantees 18, 19, 23: missing, empty, too long, odd keys: 400; reused: 422; equal payments: both made."""
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": bob.wallet_id}}
    key = uuid4().hex

    missing = await alice.post("/transfers", body)
    odd = [await alice.post("/transfers", body, key=bad) for bad in ("", "x" * 256, "tab\there")]
    twice = await alice.send(
        "POST",
        "/transfers",
        json=body,
        headers=[("Authorization", f"Bearer {alice.token}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")],
    )
    first = await alice.post("/transfers", body, key=key)
    reused = await alice.post("/transfers", body | {"amount": 2}, key=key)
    other = await alice.post("/transfers", body, key=uuid4().hex)

    assert (400, "idempotency_key_missing") == (missing.status, missing.code)
    assert [(400, "idempotency_key_invalid")] * 4 == [(response.status, response.code) for response in (*odd, twice)]
    assert (422, "idempotency_key_reused") == (reused.status, reused.code)
    assert other.body["id"] != first.body["id"]


async def test_a_lost_response_is_found_by_its_key(alice: Person, bob: Person) -> None:
    """Guarantee 24: the key finds the transfer, or an empty list if the request never arrived."""
    key = uuid4().hex
    before = await alice.get("/transfers", params={"idempotency_key": key})
    sent = await alice.send_money(bob, 1, key=key)
    after = await alice.get("/transfers", params={"idempotency_key": key})

    assert [] == before.body["items"]
    assert [sent.body["id"]] == [item["id"] for item in after.body["items"]]


async def test_waiting_for_the_outcome(alice: Person, bob: Person) -> None:
    """Guarantee 57: `Prefer: wait` returns 200 with the outcome, a replay too; without a worker, 202 in time."""
    key = uuid4().hex
    done = await alice.send_money(bob, 1, key=key, wait=10)
    again = await alice.send_money(bob, 1, key=key, wait=10)
    plain = await alice.send_money(bob, 1, key=key)

    assert (200, "COMPLETED", "wait=10") == (done.status, done.body["status"], done.headers["Preference-Applied"])
    assert (200, "COMPLETED", "true") == (again.status, again.body["status"], again.headers["Idempotent-Replayed"])
    assert (202, "PENDING") == (plain.status, plain.body["status"])


async def test_cancelling(stack: Stack, alice: Person, bob: Person) -> None:
    """A sender cancels a transfer that is not posted; a completed one cannot be cancelled; the recipient never can."""
    done = await alice.send_money(bob, 1, wait=20)
    late = await alice.post(f"/transfers/{done.body['id']}/cancel")
    not_mine = await bob.post(f"/transfers/{done.body['id']}/cancel")
    for worker in ("transaction-worker-1", "transaction-worker-2"):
        await stack.take_down(worker)
    try:
        pending = await alice.send_money(bob, 7)
        waited = time.monotonic()
        slow = await alice.send_money(bob, 1, wait=2)
        waited = time.monotonic() - waited
        cancelled = await alice.post(f"/transfers/{pending.body['id']}/cancel")
        again = await alice.post(f"/transfers/{pending.body['id']}/cancel")
    finally:
        for worker in ("transaction-worker-1", "transaction-worker-2"):
            stack.bring_up(worker)

    assert (409, "transfer_not_cancellable") == (late.status, late.code)
    assert "COMPLETED" == late.body["transfer"]["status"]
    assert 404 == not_mine.status
    assert (202, "PENDING") == (slow.status, slow.body["status"])
    assert waited < 2.5
    assert (200, "FAILED", "cancelled") == (
        cancelled.status,
        cancelled.body["status"],
        cancelled.body["failure"]["code"],
    )
    assert cancelled.body == again.body
    await stack.ready("transaction-worker-1")
    await stack.ready("transaction-worker-2")
    assert "COMPLETED" == (await alice.finalized(slow.body["id"]))["status"]


BAD_AMOUNTS: list[Any] = ["10.5", 10.5, -1, 0, 2**63, True, None, "０１", [1], {}, 10**15 + 1]


@pytest.mark.parametrize("amount", BAD_AMOUNTS, ids=repr)
async def test_bad_amounts(stack: Stack, api: ApiClient, amount: Any) -> None:
    """Guarantee 52: an invalid amount is refused, naming the field, and nothing is recorded."""
    person, other = await asyncio.gather(api.register(), api.register())

    response = await person.post(
        "/transfers", {"amount": amount, "currency": "USD", "to": {"wallet_id": other.wallet_id}}, key=uuid4().hex
    )

    assert (422, ["amount"]) == (response.status, response.fields)
    await nothing_recorded(stack, person)


async def nothing_recorded(stack: Stack, person: Person) -> None:
    assert [] == await stack.query("transaction", "SELECT id FROM transfers WHERE user_id = $1", person.user_id)
    assert [] == await stack.query("transaction", "SELECT key FROM idempotency_keys WHERE user_id = $1", person.user_id)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'{"amount": 1e3, "currency": "USD", "to": {"email": "bob@example.com"}}', 422),
        (b'{"amount": NaN, "currency": "USD", "to": {"email": "bob@example.com"}}', 400),
        (b'{"amount": 1, "amount": 2, "currency": "USD", "to": {"email": "bob@example.com"}}', 400),
        (b'{"currency": "USD", "to": {"email": "bob@example.com"}}', 422),
        (b"[" * 10_000, 400),
        (b"{", 400),
        (b"", 400),
        (b'{"amount": 1' + b" " * 70_000 + b"}", 413),
    ],
    ids=["exponent", "NaN", "duplicate key", "missing", "deep", "cut off", "empty", "too large"],
)
async def test_bad_bodies(stack: Stack, api: ApiClient, raw: bytes, status: int) -> None:
    """Guarantee 52: malformed bodies are refused with a problem, and nothing is recorded."""
    person = await api.register()
    headers = {
        "Authorization": f"Bearer {person.token}",
        "Idempotency-Key": uuid4().hex,
        "Content-Type": "application/json",
    }

    response = await api.send("POST", "/transfers", data=raw, headers=headers)

    assert status == response.status
    assert "application/problem+json" == response.headers["Content-Type"].partition(";")[0]
    await nothing_recorded(stack, person)


async def test_bad_fields(stack: Stack, alice: Person, bob: Person, operator: Person) -> None:
    """Guarantee 52: each impossible transfer is a 4xx that names its field."""
    euro = (await bob.post("/wallets", {"currency": "EUR"})).body["id"]
    frozen = await operator.send(
        "PUT", f"/ops/wallets/{bob.wallet_id}/freeze", headers={"Authorization": f"Bearer {operator.token}"}
    )
    valid = {"amount": 1, "currency": "USD", "to": {"wallet_id": operator.wallet_id}}
    cases: dict[str, dict[str, Any]] = {
        "to": valid | {"to": {"wallet_id": alice.wallet_id}},
        "currency": valid | {"currency": "ZZZ"},
        "to ": valid | {"to": {"wallet_id": str(uuid4())}},
        "to.email": valid | {"to": {"email": "unknown@example.com"}},
        "currency ": valid | {"to": {"wallet_id": euro}},
        "to  ": valid | {"to": {"wallet_id": bob.wallet_id}},
        "description": valid | {"description": "NUL \x00"},
        "description ": valid | {"description": "x" * 141},
        "surprise": valid | {"surprise": 1},
        "from_wallet_id": valid | {"from_wallet_id": bob.wallet_id},
    }

    responses: dict[str, Response] = {
        field: await alice.post("/transfers", body, key=uuid4().hex) for field, body in cases.items()
    }

    assert 200 == frozen.status
    for field, response in responses.items():
        assert 422 == response.status, (field, response)
        assert any(named == field.strip() for named in response.fields), (field, response)
    await operator.send(
        "DELETE", f"/ops/wallets/{bob.wallet_id}/freeze", headers={"Authorization": f"Bearer {operator.token}"}
    )
    assert "COMPLETED" == (await alice.send_money(bob, 1, wait=20)).body["status"]


@pytest.mark.parametrize("text", ["'; DROP TABLE transfers; --", "' OR '1'='1", "\\", "%00", "𝕊𝕢𝕝"])
async def test_hostile_texts_are_only_texts(alice: Person, bob: Person, text: str) -> None:
    """Guarantee 52: SQL in a description is stored as text; in an address or cursor it is a 4xx."""
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": bob.wallet_id}, "description": text}
    accepted = await alice.post("/transfers", body, key=uuid4().hex)
    done = await alice.finalized(accepted.body["id"])
    address = await alice.post("/transfers", body | {"to": {"email": text}}, key=uuid4().hex)
    cursor = await alice.get("/transfers", params={"cursor": text})
    unknown = await alice.get(f"/transfers/{text.replace('/', '')}".replace("%00", "x"))

    assert text == done["description"]
    assert 422 == address.status
    assert (422, ["cursor"]) == (cursor.status, cursor.fields)
    assert 404 == unknown.status


async def test_paging_while_rows_arrive(alice: Person, bob: Person) -> None:
    """Guarantee 59, short form: while transfers arrive, paging neither skips nor repeats an older one."""
    before = [(await alice.send_money(bob, 1)).body["id"] for _ in range(40)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "7"} | ({"cursor": cursor} if cursor else {})
        page = (await alice.get("/transfers", params=params)).body
        seen += [item["id"] for item in page["items"]]
        await asyncio.gather(*(alice.send_money(bob, 1) for _ in range(5)))
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert len(seen) == len(set(seen))
    assert set(before) <= set(seen)


async def test_objects_of_other_users_are_not_found(api: ApiClient, alice: Person, bob: Person) -> None:
    """Guarantee 46, in part: another user's transfer, wallet and notification are 404, with the body of an unknown one."""
    mallory = await api.register()
    transfer = (await alice.send_money(bob, 1, wait=20)).body["id"]
    for path in (
        "/transfers/{}",
        "/transfers/{}/timeline",
        "/wallets/{}",
        "/wallets/{}/balance",
        "/wallets/{}/statement",
    ):
        theirs = transfer if path.startswith("/transfers") else alice.wallet_id
        responses = [await mallory.get(path.format(id_)) for id_ in (theirs, str(uuid4()))]
        bodies = [{k: v for k, v in response.body.items() if k != "request_id"} for response in responses]
        assert [404, 404] == [response.status for response in responses]
        assert bodies[0] == bodies[1]


async def test_conservation_in_the_proof(operator: Person) -> None:
    """The operator's proof covers the whole ledger and passes; the balance sheet sums to zero in each currency."""
    proof = (await operator.get("/ops/ledger/proof", params={"full": "1"})).body
    sheet = (await operator.get("/ops/ledger/balance-sheet")).body

    assert proof["ok"], proof
    assert Counter({0: len(sheet["currencies"])}) == Counter(row["sum"] for row in sheet["currencies"])
