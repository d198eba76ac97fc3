"""Commands about transfers: send, list, find, and the live overview."""

from __future__ import annotations

import io
import json
import uuid
from collections import deque
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from payflow import console as console_module
from payflow import following, transfer_tables
from payflow.errors import GatewayUnreachable
from payflow.limits import INTERACTIVE
from payflow.operations import Overview
from payflow.search import SearchResult
from payflow.transfer import Timeline
from payflow.watching import Screen, sparkline
from tests.integration.payflow.conftest import ALICE
from tests.integration.payflow.test_cli import CURRENCIES, OVERVIEW, TRANSFER_ID, login, one_line

WALLET = {
    "id": str(uuid.uuid4()), "owner_id": ALICE["id"], "currency": "USD", "balance": 123456, "available": 123450, "held": 6,
    "status": "open", "created_at": "2026-01-02T12:00:00Z",
}  # fmt: skip


def found(gateway: Any, **changes: Any) -> dict[str, Any]:
    """A transfer as the search returns it."""
    body = {"amount": 1050, "currency": "USD", "to": {}}
    transfer = gateway.add_transfer(ALICE, str(uuid.uuid4()), body)
    more = {
        "user_id": ALICE["id"],
        "recipient_id": None,
        "request_id": "r-1",
        "waiting_for": "wallet",
        "conflicted": False,
    }
    return transfer | more | {"summary": "It waits."} | changes


def results(*items: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": None, "has_more": False, "searched_from": None} | changes


# send, transfers, wallets


async def test_send(gateway: Any, run: Any) -> None:
    """An amount with decimals is sent in minor units; the key is printed on standard error before, and can be given."""
    gateway.documents["/currencies"] = CURRENCIES
    gateway.keeps_preference = True
    await login(run, "alice@example.com")

    sent = await run("send", "12.5", "usd", "--to", "bob@example.com", "--description", "Lunch")
    [first] = gateway.seen("POST /transfers")
    again = await run("send", "12.50", "USD", "--to", "bob@example.com", "--description", "Lunch", "--key", first.key)

    assert (0, f"idempotency key {first.key}\n") == (sent.code, sent.err)
    assert {"amount": 1250, "currency": "USD", "to": {"email": "bob@example.com"}, "description": "Lunch"} == first.body
    assert sent.out == again.out
    assert (f"COMPLETED 12.50 USD: transfer {next(iter(gateway.transfers))}\n", "") == (again.out, again.err)


async def test_send_to_a_wallet_without_waiting(gateway: Any, run: Any) -> None:
    """A recipient without @ is a wallet id; a transfer that is not final yet is accepted: exit code 0."""
    gateway.documents["/currencies"] = CURRENCIES
    gateway.polls_until_final = 1000
    await login(run, "alice@example.com")

    ran = await run("send", "7", "JPY", "--to", WALLET["id"], "--wait", "0", "--json")

    assert (0, "PENDING", 7) == (ran.code, (sent := json.loads(ran.out))["status"], sent["amount"])
    assert WALLET["id"] == sent["to_wallet_id"]


async def test_a_failed_payment(gateway: Any, faults: Any, run: Any) -> None:
    """A transfer that FAILED: its reason, and exit code 1."""
    gateway.documents["/currencies"] = CURRENCIES
    await login(run, "alice@example.com")
    transfer = found(
        gateway, status="FAILED", failure={"code": "wallet_frozen", "message": "One of the wallets is frozen."}
    )
    gateway.fail("POST /transfers", faults.document(transfer))

    ran = await run("send", "1", "USD", "--to", "bob@example.com")

    assert (1, True) == (ran.code, ran.out.endswith("One of the wallets is frozen.\n")), ran


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["1.005", "USD"], "'1.005' is not an amount in USD; one looks like 12.50"),
        (["1.0", "JPY"], "'1.0' is not an amount in JPY; one looks like 12"),
        (["1e3", "USD"], "'1e3' is not an amount in USD"),
        (["0.00", "USD"], "must be greater than 0"),
        (["1,000.00", "USD"], "'1,000.00' is not an amount"),
        (["1", "QQQ"], "'QQQ' is not the code of a currency"),
        (["1", "USD", "--key", "two words"], "idempotency key must have 1 to 255 visible ASCII characters"),
    ],
)
async def test_what_cannot_be_sent(gateway: Any, run: Any, arguments: list[str], text: str) -> None:
    """An amount that is not exact in its currency, an unknown currency, an invalid key: one line, and nothing is sent."""
    gateway.documents["/currencies"] = CURRENCIES
    await login(run, "alice@example.com")

    ran = await run("send", *arguments, "--to", "bob@example.com")

    assert (1, "") == (ran.code, ran.out)
    assert text in ran.err.splitlines()[-1]
    assert [] == gateway.seen("POST /transfers")


async def test_lists_of_a_user(gateway: Any, run: Any) -> None:
    """Transfers and wallets as tables with formatted amounts, and as JSON with the fields of the API."""
    gateway.documents["/currencies"] = CURRENCIES
    gateway.pages["/transfers"] = [found(gateway, description="[Lunch]") for _ in range(5)]
    gateway.pages["/wallets"] = [WALLET]
    await login(run, "alice@example.com")

    transfers, cut = await run("transfers", "--limit", "50"), await run("transfers", "--limit", "3", "--json")
    wallets, listed = await run("wallets"), await run("wallets", "--json")

    assert (0, 5, 5) == (transfers.code, transfers.out.count("10.50 USD"), transfers.out.count("[Lunch]"))
    assert gateway.pages["/transfers"][:3] == json.loads(cut.out)["items"]
    assert "1,234.56 USD" in wallets.out
    assert {"items": [WALLET]} == json.loads(listed.out)


# trace by other means than an id


async def test_trace_by_what_is_known(gateway: Any, run: Any, timeline: Any) -> None:
    """A key, a user and a request each find the transfer, whose timeline is printed."""
    item = found(gateway)
    gateway.documents["/ops/transfers"] = results(item)
    gateway.documents[f"/ops/transfers/{item['id']}/timeline"] = timeline(item["id"], waiting_for="wallet")
    await login(run)

    ways = (
        ["--key", "lunch", "--user", "alice@example.com"],
        ["--user", "alice@example.com", "--until", "2026-01-02T12:00:00Z"],
        ["--request-id", "r-1"],
    )
    ran = [await run("trace", *way) for way in ways]

    assert [0] * 3 == [one.code for one in ran], ran
    assert all(item["id"] in one.out and "waits for" in one.out for one in ran)
    queries = [request.query for request in gateway.seen("GET /ops/transfers")]
    assert {"idempotency_key": "lunch", "user": "alice@example.com"} == queries[0]
    assert {"user": "alice@example.com", "to": "2026-01-02T12:00:00.000000Z"} == queries[1]
    assert {"request_id": "r-1"} == queries[2]


async def test_a_user_traces_by_key(gateway: Any, run: Any, timeline: Any) -> None:
    """A user finds an own transfer by its key; for a key that has not arrived, one line says that it is safe to repeat."""
    item = gateway.add_transfer(ALICE, "lunch", {"amount": 1, "currency": "USD", "to": {}})
    gateway.documents[f"/transfers/{item['id']}/timeline"] = timeline(item["id"])
    await login(run, "alice@example.com")

    by_key, missing = await run("trace", "--key", "lunch"), await run("trace", "--key", "dinner")

    assert (0, True) == (by_key.code, item["id"] in by_key.out)
    assert "sending it again with the same key is safe" in one_line(missing)


async def test_trace_finds_several_or_none(gateway: Any, run: Any) -> None:
    """Several transfers are listed; none is an error, which says how far back the search went."""
    items = [found(gateway), found(gateway, conflicted=True, waiting_for=None)]
    gateway.documents["/ops/transfers"] = results(*items)
    await login(run)
    several, as_json = await run("trace", "--user", "a@b.c"), await run("trace", "--user", "a@b.c", "--json")
    gateway.documents["/ops/transfers"] = results(searched_from="2026-01-02T12:00:00Z")
    cut = await run("trace", "--request-id", "r-2")
    gateway.documents["/ops/transfers"] = results()
    none = await run("trace", "--request-id", "r-2")

    assert (0, True) == (several.code, all(item["id"] in several.out for item in items))
    assert "operator" in several.out
    assert 2 == len(json.loads(as_json.out)["items"])
    assert "--until 2026-01-02T12:00:00.000000Z" in one_line(cut)
    assert "no transfer was found" in one_line(none)


@pytest.mark.parametrize("arguments", [[], [TRANSFER_ID, "--key", "k"], ["--key", "k", "--request-id", "r"]])
async def test_trace_needs_one_way(gateway: Any, run: Any, arguments: list[str]) -> None:
    """No way or two ways to find a transfer: a usage error, and no request."""
    ran = await run("trace", *arguments)

    assert "name the transfer by its ID" in one_line(ran, code=2)
    assert [] == gateway.requests


async def test_the_sentence_alone(gateway: Any, run: Any, timeline: Any) -> None:
    """With --for-customer the sentence is the only output, to be copied into a response."""
    gateway.documents[f"/ops/transfers/{TRANSFER_ID}/timeline"] = timeline(TRANSFER_ID)
    await login(run)

    assert "Your transfer is on its way [soon].\n" == (await run("trace", TRANSFER_ID, "--for-customer")).out


async def test_trace_says_since_when_it_waits(gateway: Any, run: Any, timeline: Any) -> None:
    """The wait is measured by the clock of the server, from the last step; the trace names what to check."""
    waiting = {**timeline(TRANSFER_ID, waiting_for="worker"), "as_of": "2026-01-02T03:04:45.025000Z"}
    gateway.documents[f"/ops/transfers/{TRANSFER_ID}/timeline"] = waiting
    await login(run)

    ran = await run("trace", TRANSFER_ID)

    assert "since        40.0 s after picked_up (transaction)\n" in ran.out
    assert "docs/operations/transfer-takes-too-long.md" in ran.out


# trace --follow


@pytest.mark.parametrize("as_json", [False, True])
async def test_follow_until_final(gateway: Any, faults: Any, run: Any, timeline: Any, *, as_json: bool) -> None:
    """In a pipe each change once, until the transfer is final; a gateway that does not respond for a while is reported."""
    route = f"/ops/transfers/{TRANSFER_ID}/timeline"
    waiting = timeline(TRANSFER_ID, waiting_for="relay")
    gateway.documents[route] = timeline(TRANSFER_ID)
    unavailable = [faults.refuse(503, "database_unavailable")] * INTERACTIVE.attempts_max
    gateway.fail(f"GET {route}", *[faults.document(waiting)] * 2, *unavailable, faults.document(waiting))
    await login(run)

    ran = await run("trace", TRANSFER_ID, "--follow", *(["--json"] if as_json else []))

    assert (0, 1) == (ran.code, len(ran.err.splitlines()))
    assert "database_unavailable" in ran.err
    if as_json:
        assert ["PENDING", "COMPLETED"] == [json.loads(line)["status"] for line in ran.out.splitlines()]
    else:
        assert (1, 1) == (ran.out.count("accepted"), ran.out.count("waits for relay"))
        assert ran.out.splitlines()[-1].startswith("COMPLETED: ")


async def test_follow_nothing(gateway: Any, run: Any) -> None:
    """An unknown transfer ends it with one line, and so does a second form of the output."""
    await login(run)

    unknown = await run("trace", TRANSFER_ID, "--follow")
    assert 1 == unknown.code
    one_line(unknown)
    assert 2 == (await run("trace", TRANSFER_ID, "--follow", "--for-customer")).code


def test_followed_on_a_terminal(timeline: Any) -> None:
    """The timeline is drawn in place; an error stands below the last one."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=120, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        screen = following.Screen(live, checks=True)
        screen.show(Timeline.read(timeline(TRANSFER_ID, waiting_for="relay")))
        screen.report(GatewayUnreachable("http://127.0.0.1:1", "connection refused"))
    assert "check" in drawn.getvalue()
    assert "connection refused" in drawn.getvalue()


# stuck, queue --watch


async def test_stuck(gateway: Any, run: Any) -> None:
    """Late transfers: a table, how many wait for what, and exit code 3 with one line; with --json the same exit code."""
    items = [found(gateway), found(gateway), found(gateway, conflicted=True, waiting_for=None)]
    gateway.documents["/ops/transfers"] = results(*items, has_more=True)
    await login(run)

    ran, as_json = await run("stuck", "--seconds", "10", "--limit", "3"), await run("stuck", "--json")

    assert (3, "payflow: at least 3 transfers have been PENDING for more than 10 s\n") == (ran.code, ran.err)
    assert "wallet: 2, operator: 1" in ran.out
    assert all(item["id"] in ran.out for item in items)
    assert (3, 3) == (as_json.code, len(json.loads(as_json.out)["items"]))
    assert {"pending_seconds": "10", "limit": "3"} == gateway.seen("GET /ops/transfers")[0].query


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_ids_can_be_copied(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    """No id is folded, however narrow the terminal is; users are left out where they do not fit."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    item = found(gateway)
    page = SearchResult.read(results(item))

    transfer_tables.print_stuck(page)
    transfer_tables.print_found(page)
    transfer_tables.print_transfers([page.items[0].transfer], {})
    shown = capsys.readouterr().out

    assert 3 == shown.count(item["id"])
    assert (columns >= console_module.NARROW) == (ALICE["id"] in shown)


async def test_nothing_is_stuck(gateway: Any, run: Any) -> None:
    """Without late transfers: one line and exit code 0."""
    gateway.documents["/ops/transfers"] = results()
    await login(run)

    ran = await run("stuck")

    assert (0, "no transfer has been PENDING for more than 5 s\n", "") == (ran.code, ran.out, ran.err)


async def test_watch_in_a_pipe(gateway: Any, faults: Any, run: Any) -> None:
    """One reading after another; as JSON one document per line; a refusal that passes is reported and tried again."""
    gateway.documents["/ops/overview"] = OVERVIEW
    await login(run)
    watched = await run("queue", "--watch", "--every", "0.1", "--count", "2")
    gateway.fail("GET /ops/overview", faults.refuse(503, "unavailable", retry_after="60"))
    lines = await run("queue", "--watch", "--every", "0.1", "--count", "2", "--json")

    assert (0, 2) == (watched.code, watched.out.count("transfers.requested"))
    assert [OVERVIEW] == [json.loads(line) for line in lines.out.splitlines()]
    assert (0, 1) == (lines.code, len(lines.err.splitlines()))


async def test_watch_without_permission(gateway: Any, run: Any) -> None:
    """A refusal that does not pass ends the command with one line."""
    await login(run, "alice@example.com")

    assert "operator_required" in one_line(await run("queue", "--watch"))


def test_watch_on_a_terminal() -> None:
    """The overview is drawn with the depth over time; an error is shown above the last overview."""
    terminal = Console(force_terminal=True, width=120, record=True, legacy_windows=False)
    with Live(console=terminal, auto_refresh=False) as live:
        screen = Screen(live, 1.0)
        screen.show(Overview.read(OVERVIEW))
        screen.show(GatewayUnreachable("http://gateway", "connection refused"))
    text = terminal.export_text()

    assert "transfers.requested" in text
    assert "at most 1,234" in text
    assert "cannot reach the gateway at http://gateway" in text


@pytest.mark.parametrize(("figures", "bars"), [([], ""), ([0, 0], "▁▁"), ([0, 4, 8], "▁▄█"), ([-1, 0], "▁▁")])
def test_sparkline(figures: list[int], bars: str) -> None:
    """The highest figure is a full bar; without any the line is flat."""
    assert bars == sparkline(deque(figures))


@pytest.mark.parametrize(("alerts", "shown"), [(None, "unknown to the gateway"), ([], "none firing")])
async def test_no_alerts_in_the_overview(gateway: Any, run: Any, alerts: list[Any] | None, shown: str) -> None:
    """Alerts that the gateway cannot read are not shown as none."""
    gateway.documents["/ops/overview"] = OVERVIEW | {"alerts": alerts}

    await login(run)

    ran = await run("queue")

    [line] = [line.split() for line in ran.out.splitlines() if line.startswith("alerts")]
    assert ["alerts", *shown.split()] == line


async def test_alerts_in_the_overview(gateway: Any, run: Any) -> None:
    """Firing alerts are listed with severity, start and runbook."""
    alert = {"name": "PostgresDown", "severity": "critical", "since": "2026-01-02T12:00:00Z", "runbook": "docs/x.md"}
    gateway.documents["/ops/overview"] = OVERVIEW | {"alerts": [alert]}
    await login(run)

    ran = await run("queue")

    [line] = [line.split() for line in ran.out.splitlines() if "PostgresDown" in line]
    assert ["alert", "PostgresDown", "critical", "since", "2026-01-02", "12:00:00", "UTC", "docs/x.md"] == line
