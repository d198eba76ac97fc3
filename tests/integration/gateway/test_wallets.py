"""Wallets at the gateway: owners, statements, files, recipients, notifications."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable

import pytest

from services.contracts.identifiers import new_id
from services.gateway.api import names
from services.gateway.clients import service
from tests.integration.gateway.conftest import ApiClient, Response
from tests.integration.gateway.upstream_fakes import NOW, Wallet, problem

WALLETS = "/api/v1/wallets"
BALANCES = "/internal/balances"


async def test_wallets_are_listed_in_pages(api: ApiClient, token: str, user_id: str) -> None:
    """All wallets of the user and no others, page by page."""
    mine = [api.fakes.wallet.add(user_id, currency) for currency in ("USD", "EUR", "JPY")]
    api.fakes.wallet.add(str(new_id()))

    whole = (await api.call("GET", WALLETS, token=token)).json()
    first = (await api.call("GET", f"{WALLETS}?limit=2", token=token)).json()
    rest = (await api.call("GET", f"{WALLETS}?limit=2&cursor={first['next_cursor']}", token=token)).json()

    assert [wallet["id"] for wallet in whole["items"]] == mine
    assert whole["next_cursor"] is None
    assert [wallet["id"] for wallet in first["items"] + rest["items"]] == mine
    assert rest["next_cursor"] is None


async def test_wallet_is_opened_once(api: ApiClient, token: str) -> None:
    """201 with its path the first time, then 200 with the same wallet."""
    first = await api.call("POST", WALLETS, token=token, json={"currency": "EUR"})
    again = await api.call("POST", WALLETS, token=token, json={"currency": "EUR"})

    assert (first.status, again.status) == (201, 200)
    assert first.json() == again.json()
    assert first.headers["Location"] == f"{WALLETS}/{first.json()['id']}"


@pytest.mark.parametrize("suffix", ["", "/balance", "/statement"])
async def test_wallet_of_another_user_is_unknown(api: ApiClient, token: str, suffix: str) -> None:
    """Guarantee 46: another user's wallet, an external account, an unknown and an invalid id get the same body."""
    others = [api.fakes.wallet.add(str(new_id())), api.fakes.wallet.add(None), str(new_id()), "x", "%00", "..%2f"]

    responses = [await api.call("GET", f"{WALLETS}/{wallet_id}{suffix}", token=token) for wallet_id in others]

    bodies = [{**response.json(), "request_id": ""} for response in responses]
    assert {response.status for response in responses} == {404}
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "wallet_not_found"


async def test_own_wallet_is_read(api: ApiClient, token: str, user_id: str) -> None:
    """The wallet and its balance, now or at an instant; its owner is fetched once."""
    wallet_id = api.fakes.wallet.add(user_id)

    wallet = await api.call("GET", f"{WALLETS}/{wallet_id.upper()}", token=token)
    for _ in range(3):
        balance = await api.call(
            "GET", f"{WALLETS}/{wallet_id}/balance", token=token, params={"at": "2026-01-01T01:00:00+01:00"}
        )

    assert (wallet.status, wallet.json()) == (200, api.fakes.wallet.wallets[wallet_id])
    assert (balance.status, balance.json()["available"]) == (200, 900)
    assert api.fakes.wallet.calls_to("GET", f"/internal/wallets/{wallet_id}/balance")[0].query == {
        "at": "2026-01-01T00:00:00Z"
    }
    assert len(api.fakes.wallet.calls_to("GET", f"/internal/wallets/{wallet_id}")) == 1


async def test_concurrent_reads(api: ApiClient, token: str, user_id: str) -> None:
    """Each of many reads at once gets its own result: a wallet, a balance, or the 404 of another user's wallet."""
    mine = [api.fakes.wallet.add(user_id) for _ in range(20)]
    others = [api.fakes.wallet.add(str(new_id())) for _ in range(20)]

    def read(wallet_id: str, suffix: str = "") -> Awaitable[Response]:
        return api.call("GET", f"{WALLETS}/{wallet_id}{suffix}", token=token)

    wallets = await asyncio.gather(*(read(id_) for pair in zip(mine, others, strict=True) for id_ in pair))
    balances = await asyncio.gather(*(read(id_, "/balance") for id_ in mine))

    assert [200, 404] * 20 == [response.status for response in wallets]
    assert [api.fakes.wallet.wallets[id_] for id_ in mine] == [response.json() for response in wallets[::2]]
    assert [{"balance": 1000, "available": 900, "held": 100, "as_of": NOW}] * 20 == [read.json() for read in balances]


async def test_reads_during_an_upgrade(api: ApiClient, token: str, user_id: str) -> None:
    """Guarantee 62: a wallet service of the release before reads one wallet per request; the responses are the same."""
    mine, other = api.fakes.wallet.add(user_id), api.fakes.wallet.add(str(new_id()))
    paths = [f"{WALLETS}/{id_}{suffix}" for id_ in (mine, other) for suffix in ("", "/balance")]
    new = [await api.call("GET", path, token=token) for path in paths]

    api.fakes.wallet.responses[f"POST {BALANCES}"] = problem(404, "not_found")
    old = [await api.call("GET", path, token=token) for path in paths]

    assert [200, 200, 404, 404] == [response.status for response in old]
    assert [response.json() for response in new[:2]] == [response.json() for response in old[:2]]
    assert ["wallet_not_found"] * 2 == [response.json()["code"] for response in old[2:]]


@pytest.mark.parametrize("read", ["balance?at=2026-01-01T00:00:00Z", "statement?to=2026-01-01T00:00:00Z"])
@pytest.mark.parametrize("accept", ["application/json", "text/csv"])
async def test_instant_that_is_not_final(api: ApiClient, token: str, user_id: str, read: str, accept: str) -> None:
    """The refusal of the wallet service is passed on, with the instant and `Retry-After`, and no file starts."""
    wallet_id = api.fakes.wallet.add(user_id)
    path = f"/internal/wallets/{wallet_id}/{read.partition('?')[0]}"
    refused = problem(409, "moment_not_final", final_before=NOW)
    refused.headers["Retry-After"] = "1"
    api.fakes.wallet.responses[f"GET {path}"] = refused

    response = await api.call("GET", f"{WALLETS}/{wallet_id}/{read}", token=token, headers={"Accept": accept})

    document = response.json()
    assert (response.status, document["code"], document["final_before"]) == (409, "moment_not_final", NOW)
    assert (response.headers["Retry-After"], response.headers["Content-Type"]) == ("1", "application/problem+json")


def fill(wallet: Wallet, count: int, owner_id: str | None, description: str | None = None) -> None:
    """Add entries to the statement of a fake wallet service."""
    wallet.lines = [
        {
            "seq": seq,
            "transfer_id": str(new_id()),
            "amount": -seq,
            "balance_after": seq,
            "counterparty": {"wallet_id": str(new_id()), "owner_id": owner_id},
            "description": description,
            "created_at": NOW,
        }
        for seq in range(count, 0, -1)
    ]


async def test_statement_names_the_counterparty(api: ApiClient, token: str, user_id: str) -> None:
    """The counterparty is shown by name, without the owner's id; external accounts have no name."""
    bob = str(new_id())
    api.fakes.auth.users["bob@example.com"] = (bob, "Bob Stone")
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 1, bob)
    named = (await api.call("GET", f"{WALLETS}/{wallet_id}/statement", token=token)).json()["items"][0]
    fill(api.fakes.wallet, 1, None)
    world = (await api.call("GET", f"{WALLETS}/{wallet_id}/statement", token=token)).json()["items"][0]

    assert (named["counterparty"]["name"], sorted(named["counterparty"])) == ("Bob Stone", ["name", "wallet_id"])
    assert world["counterparty"]["name"] is None


async def test_statement_without_auth_has_no_names(
    api: ApiClient, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If auth is unavailable or does not respond, the statement has no names."""
    monkeypatch.setattr(names, "NAMES_SECONDS", 0.1)
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 1, str(new_id()))
    api.fakes.auth.silent = True
    silent = await api.call("GET", f"{WALLETS}/{wallet_id}/statement", token=token)
    api.fakes.auth.silent = False
    await api.fakes.auth.stop()
    unavailable = await api.call("GET", f"{WALLETS}/{wallet_id}/statement", token=token)

    assert [response.status for response in (silent, unavailable)] == [200, 200]
    assert silent.json()["items"][0]["counterparty"]["name"] is None
    assert unavailable.json()["items"][0]["counterparty"]["name"] is None


async def test_statement_is_paged(api: ApiClient, token: str, user_id: str) -> None:
    """Limit, cursor and period are passed on in normalized form."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 7, None)
    seqs: list[int] = []
    params = {"limit": "3", "from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}
    while True:
        page = (await api.call("GET", f"{WALLETS}/{wallet_id}/statement", token=token, params=params)).json()
        seqs += [line["seq"] for line in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]

    assert seqs == [7, 6, 5, 4, 3, 2, 1]
    last = api.fakes.wallet.calls_to("GET", f"/internal/wallets/{wallet_id}/statement")[-1]
    assert last.query == {"limit": "3", "cursor": "6", "from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"}


async def test_statement_as_a_file(api: ApiClient, token: str, user_id: str) -> None:
    """`Accept: text/csv` returns all lines; text of other users cannot become a formula."""
    mallory = str(new_id())
    api.fakes.auth.users["m@example.com"] = (mallory, "@Mallory")
    wallet_id = api.fakes.wallet.add(user_id, "JPY")
    fill(api.fakes.wallet, 450, mallory, '=HYPERLINK("http://evil.example"),\n2')

    response = await api.call(
        "GET", f"{WALLETS}/{wallet_id}/statement", token=token, headers={"Accept": "text/csv;q=0.9, */*;q=0.1"}
    )

    rows = list(csv.DictReader(io.StringIO(response.body.decode(), newline="")))
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="statement-{wallet_id}.csv"'
    assert "Link" not in response.headers
    assert [int(row["seq"]) for row in rows] == list(range(450, 0, -1))
    assert (rows[0]["amount"], rows[0]["currency"], rows[0]["counterparty_name"]) == ("-450", "JPY", "'@Mallory")
    assert rows[0]["description"] == '\'=HYPERLINK("http://evil.example"),\n2'


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("*/*", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
        ("application/json, text/csv;q=0.1", "application/json"),
    ],
)
async def test_file_by_accept_header(api: ApiClient, token: str, user_id: str, accept: str, kind: str) -> None:
    """A client that accepts both gets the preferred one, and one that refuses a file gets none."""
    path = f"{WALLETS}/{api.fakes.wallet.add(user_id)}/statement"

    response = await api.call("GET", path, token=token, headers={"Accept": accept})

    assert (200, kind) == (response.status, response.headers["Content-Type"].partition(";")[0])


async def test_file_of_one_page(api: ApiClient, token: str, user_id: str) -> None:
    """With `limit` the file is one page with a link to the next."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 5, None)
    path = f"{WALLETS}/{wallet_id}/statement?limit=2"
    first = await api.call("GET", path, token=token, headers={"Accept": "text/csv"})
    following = first.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')
    second = await api.call("GET", following, token=token, headers={"Accept": "text/csv"})

    seqs = [line.split(",")[0] for response in (first, second) for line in response.body.decode().splitlines()[1:]]
    assert seqs == ["5", "4", "3", "2"]


async def test_balance_while_the_wallet_service_is_unavailable(api: ApiClient, token: str, user_id: str) -> None:
    """Unavailable, or the connection is lost: 503 with Retry-After; a refusal about its database is passed on."""
    path = f"{WALLETS}/{api.fakes.wallet.add(user_id)}/balance"
    assert (await api.call("GET", path, token=token)).status == 200
    api.fakes.wallet.broken_at = BALANCES
    lost = await api.call("GET", path, token=token)
    api.fakes.wallet.broken_at = None
    api.fakes.wallet.responses[f"POST {BALANCES}"] = problem(503, "database_unavailable")
    passed = await api.call("GET", path, token=token)
    await api.fakes.wallet.stop()
    unavailable = await api.call("GET", path, token=token)

    assert (passed.status, passed.json()["code"]) == (503, "database_unavailable")
    for response in (lost, unavailable):
        assert (response.status, response.json()["code"]) == (503, "upstream_unavailable")
        assert "1" == response.headers["Retry-After"]
    assert passed.headers["Retry-After"] == "1"


async def test_recipient_is_masked(api: ApiClient, token: str) -> None:
    """The masked recipient; unknown: 404; auth unavailable: 503."""
    bob = str(new_id())
    api.fakes.auth.users["bob@example.com"] = (bob, "Bob van Stone")
    path = "/api/v1/recipients"

    found = await api.call("GET", path, token=token, params={"email": "bob@example.com"})
    unknown = await api.call("GET", path, token=token, params={"email": "nobody@example.com"})
    await api.fakes.auth.stop()
    unavailable = await api.call("GET", path, token=token, params={"email": "bob@example.com"})

    assert found.json() == {"user_id": bob, "name": "B*** v*** S***"}
    assert (unknown.status, unknown.json()["code"]) == (404, "recipient_not_found")
    assert unavailable.status == 503


async def test_notifications(api: ApiClient, token: str, user_id: str) -> None:
    """A user's own list, and marking one as read; another user's is reported as unknown."""
    notification_id = str(new_id())
    fakes = api.fakes.notification
    fakes.responses["GET /internal/notifications"] = {"items": [], "next_cursor": None}
    fakes.responses[f"POST /internal/notifications/{notification_id}/read"] = {"id": notification_id}
    unknown = str(new_id())
    fakes.responses[f"POST /internal/notifications/{unknown}/read"] = problem(404, "notification_not_found")

    listed = await api.call("GET", "/api/v1/notifications?limit=3", token=token)
    read = await api.call("POST", f"/api/v1/notifications/{notification_id}/read", token=token)
    refused = [await api.call("POST", f"/api/v1/notifications/{id_}/read", token=token) for id_ in (unknown, "x")]

    assert (listed.status, read.status) == (200, 200)
    assert fakes.calls_to("GET", "/internal/notifications")[0].query == {"user_id": user_id, "limit": "3"}
    assert fakes.calls_to("POST", f"/internal/notifications/{notification_id}/read")[0].body == {"user_id": user_id}
    assert [response.status for response in refused] == [404, 404]
    assert {**refused[0].json(), "request_id": ""} == {**refused[1].json(), "request_id": ""}


async def test_optional_body(api: ApiClient, token: str) -> None:
    """Where no body is required, an empty object is accepted and anything else refused."""
    path = f"/api/v1/notifications/{new_id()}/read"
    api.fakes.notification.responses[path.replace("/api/v1", "POST /internal")] = {"id": "x"}
    assert (await api.call("POST", path, token=token, json={})).status == 200
    assert (await api.call("POST", path, token=token, json={"user_id": "x"})).status == 422
    assert (
        await api.call("POST", path, token=token, data=b"null", headers={"Content-Type": "application/json"})
    ).status == 422


async def test_freeze_and_unfreeze(api: ApiClient, operator_token: str, token: str) -> None:
    """The operator and the request are passed on; the transaction service gets a hint, and may be unavailable."""
    wallet_id = api.fakes.wallet.add(str(new_id()))
    path = f"/api/v1/ops/wallets/{wallet_id}/freeze"

    assert (await api.call("PUT", path, token=token)).status == 403
    frozen = await api.call("PUT", path, token=operator_token, headers={"X-Request-Id": "act-1"})
    await api.fakes.transaction.stop()
    unfrozen = await api.call("DELETE", path, token=operator_token)
    unknown = await api.call("PUT", f"/api/v1/ops/wallets/{new_id()}/freeze", token=operator_token)

    assert (frozen.status, frozen.json()["status"]) == (200, "frozen")
    assert (unfrozen.status, unfrozen.json()["status"]) == (200, "open")
    assert unknown.status == 404
    action = api.fakes.wallet.calls_to("PUT", f"/internal/wallets/{wallet_id}/freeze")[0].body
    assert (action["request_id"], len(action["operator_id"])) == ("act-1", 36)
    assert api.fakes.transaction.calls_to("PUT", f"/internal/wallets/{wallet_id}/freeze-hint")[0].body == {
        "frozen": True
    }


async def test_admit_an_outcome(api: ApiClient, operator_token: str, token: str) -> None:
    """For operators only: the operator, the reason and the request are passed on."""
    transfer_id = str(new_id())
    path, body = f"/api/v1/ops/ledger/admissions/{transfer_id}", {"reason": "the clock was set back"}

    refused = await api.call("PUT", path, token=token, json=body)
    without = await api.call("PUT", path, token=operator_token, json={"reason": ""})
    before = len(api.fakes.wallet.calls_to("PUT", f"/internal/admissions/{transfer_id}"))
    unknown = await api.call("PUT", path, token=operator_token, json=body, headers={"X-Request-Id": "act-1"})

    assert (403, 422, 0) == (refused.status, without.status, before)
    assert (404, "outcome_not_found") == (unknown.status, unknown.json()["code"])
    [call] = api.fakes.wallet.calls_to("PUT", f"/internal/admissions/{transfer_id}")
    assert ("the clock was set back", "act-1", 36) == (
        call.body["reason"], call.body["request_id"], len(call.body["operator_id"])
    )  # fmt: skip


async def test_admission_during_an_upgrade(api: ApiClient, operator_token: str) -> None:
    """A wallet service of the release before cannot admit an outcome: 503, not a fault."""
    transfer_id = new_id()
    api.fakes.wallet.responses[f"PUT /internal/admissions/{transfer_id}"] = problem(404, "not_found")

    path = f"/api/v1/ops/ledger/admissions/{transfer_id}"
    response = await api.call("PUT", path, token=operator_token, json={"reason": "the clock was set back"})

    assert (503, "upstream_unavailable") == (response.status, response.json()["code"])


async def test_overview(api: ApiClient, operator_token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole state; unavailable services are reported, and their parts are null."""
    monkeypatch.setattr(service, "SIDE_SECONDS", 0.2)
    overview = {
        "queues": [], "outbox": {"unpublished": 0, "lag_seconds": 0.0}, "pending": 1, "stale_pending": 0,
        "dead_letters": 1, "jobs": [],
    }  # fmt: skip
    api.fakes.transaction.responses["GET /internal/overview"] = overview
    api.fakes.wallet.responses["GET /internal/proof"] = {"ok": True, "at": NOW, "checks": []}
    api.fakes.notification.responses["GET /internal/dead-letters/waiting"] = {"waiting": 2}

    whole = (await api.call("GET", "/api/v1/ops/overview", token=operator_token)).json()
    api.fakes.wallet.silent = True
    await api.fakes.transaction.stop()
    partial = (await api.call("GET", "/api/v1/ops/overview", token=operator_token)).json()

    names_ = ["auth", "wallet", "transaction", "notification"]
    assert whole == overview | {
        "dead_letters": 3,
        "proof": {"ok": True, "at": NOW},
        "services": [{"name": name, "ready": True} for name in names_],
        "alerts": None,
    }
    assert [service["ready"] for service in partial["services"]] == [True, False, False, True]
    assert (partial["pending"], partial["outbox"], partial["queues"], partial["proof"]) == (None, None, [], None)


async def test_proof(api: ApiClient, operator_token: str) -> None:
    """The last proof, or a new one on request."""
    api.fakes.wallet.responses["GET /internal/proof"] = {"ok": True, "at": NOW, "checks": []}
    head = f"12:{'ab' * 32}"
    asked = {"full": "1", "head": head}
    for query, sent in (("", {}), ("?full=0", {}), ("?full=1", {"full": "1"}), (f"?head={head}", asked)):
        response = await api.call("GET", f"/api/v1/ops/ledger/proof{query}", token=operator_token)
        assert (response.status, response.json()["ok"]) == (200, True)
        assert api.fakes.wallet.calls_to("GET", "/internal/proof")[-1].query == sent
    for query in ("full=yes", "head=12", f"head=0:{'ab' * 32}", "full=1&head="):
        assert (await api.call("GET", f"/api/v1/ops/ledger/proof?{query}", token=operator_token)).status == 422


async def test_proof_runs(api: ApiClient, operator_token: str, token: str) -> None:
    """For operators only: a run is started with its options, and read."""
    run_id, path, head = new_id(), "/api/v1/ops/ledger/proof-runs", f"12:{'ab' * 32}"
    api.fakes.wallet.responses["POST /internal/proof-runs"] = {"id": str(run_id), "state": "running"}
    api.fakes.wallet.responses[f"GET /internal/proof-runs/{run_id}"] = {"id": str(run_id), "state": "passed"}

    refused = await api.call("POST", path, token=token, json={})
    started = await api.call("POST", path, token=operator_token, json={"full": True, "head": head})
    read = await api.call("GET", f"{path}/{run_id}", token=operator_token)
    invalid = await api.call("POST", path, token=operator_token, json={"head": "12"})

    assert (403, 202, 200, 422) == (refused.status, started.status, read.status, invalid.status)
    assert ("running", "passed") == (started.json()["state"], read.json()["state"])
    assert {"full": True, "head": head} == api.fakes.wallet.calls_to("POST", "/internal/proof-runs")[-1].body


@pytest.mark.parametrize(
    ("code", "expected"),
    [("not_found", (503, "upstream_unavailable")), ("proof_run_not_found", (404, "proof_run_not_found"))],
)
async def test_proof_runs_during_an_upgrade(
    api: ApiClient, operator_token: str, code: str, expected: tuple[int, str]
) -> None:
    """A wallet service of the release before has no runs: 503, not a fault. A run that it does not know is a 404."""
    run_id, path = new_id(), "/api/v1/ops/ledger/proof-runs"
    api.fakes.wallet.responses["POST /internal/proof-runs"] = problem(404, "not_found")
    api.fakes.wallet.responses[f"GET /internal/proof-runs/{run_id}"] = problem(404, code)

    started = await api.call("POST", path, token=operator_token, json={})
    read = await api.call("GET", f"{path}/{run_id}", token=operator_token)

    assert (503, "upstream_unavailable") == (started.status, started.json()["code"])
    assert expected == (read.status, read.json()["code"])


async def test_refusal_of_the_gateway_is_a_500(api: ApiClient, token: str) -> None:
    """A wrong key or route between services is a 500, not a 401 for the client."""
    for status, code in ((401, "service_token_required"), (403, "service_not_allowed"), (404, "not_found")):
        api.fakes.wallet.responses["GET /internal/wallets"] = problem(status, code)
        response = await api.call("GET", WALLETS, token=token)
        assert (response.status, response.json()["code"]) == (500, "internal_error")
