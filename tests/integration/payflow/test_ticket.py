"""`payflow ticket`: what it reads from Prometheus and Loki, what it leaves out, and what it names as missing."""

from __future__ import annotations

import asyncio
import json
import stat
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from payflow import evidence
from payflow.log_line import Subject
from tests.harness import promql
from tests.integration.payflow.conftest import Faults, proof
from tests.integration.payflow.test_cli import OVERVIEW, TRANSFER_ID, login, one_line
from tests.integration.payflow.test_transfer_commands import found, results

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIwMTk5In0.c2lnbmF0dXJl"


@dataclass
class Servers:
    """Prometheus and Loki: their address, and the queries that arrived."""

    url: str = ""
    queries: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    responses: dict[str, Any] = field(default_factory=dict)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.queries.append((request.path, dict(request.query)))
        response = self.responses.get(request.path)
        if response is None:
            await asyncio.Event().wait()
        return (
            web.Response(**response)
            if isinstance(response, dict) and "text" in response
            else web.json_response(response)
        )


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    made = Servers()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.respond)
    async with TestServer(app) as server:
        made.url = str(server.make_url(""))
        yield made


@pytest.fixture
def transfer(gateway: Any, timeline: Any) -> dict[str, Any]:
    """A transfer with a trace, and everything that the gateway knows beside it."""
    item = found(gateway, id=TRANSFER_ID, description="rent for alice@example.com", request_id="order-1234")
    gateway.documents |= {
        "/ops/transfers": results(item),
        f"/ops/transfers/{TRANSFER_ID}/timeline": timeline(TRANSFER_ID, waiting_for="wallet"),
        "/ops/overview": OVERVIEW,
        "/ops/ledger/proof": proof(entries_ok=True),
    }
    return item


def files(name: str) -> dict[str, str]:
    with zipfile.ZipFile(name) as archive:
        return {each.rpartition("/")[2]: archive.read(each).decode() for each in archive.namelist()}


def local_stack(gateway: str, lines: str) -> None:
    """A stack below the working folder, whose gateway is this one."""
    logs = Path(".payflow") / "logs"
    logs.mkdir(parents=True)
    (logs / "transaction-worker-1.log").write_text(lines)
    stack = {"gateway": gateway, "metrics": {"wallet": "http://127.0.0.1:1"}}
    (logs.parent / "stack.json").write_text(json.dumps(stack))


async def test_metrics_and_lines(
    gateway: Any, run: Any, servers: Servers, transfer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Series of the transfer's time, and its lines in their order, redacted; the archive is private."""
    sample = {"metric": {"queue": "q"}, "values": [[1767323045, "3"]]}
    line = json.dumps(
        {
            "event": "call_failed",
            "request_id": "order-1234",
            "email": "bob@example.com",
            "authorization": "x",
            "detail": f"Bearer {TOKEN}",
        }
    )
    servers.responses = {
        "/api/v1/query_range": {"status": "success", "data": {"result": [sample]}},
        "/loki/api/v1/query_range": {
            "data": {
                "result": [{"stream": {"service": "wallet"}, "values": [["20", f"later {TRANSFER_ID}"], ["10", line]]}]
            }
        },
    }
    monkeypatch.setenv("PAYFLOW_PROMETHEUS_URL", servers.url)
    monkeypatch.setenv("PAYFLOW_LOKI_URL", servers.url)
    await login(run)

    ran = await run("ticket", TRANSFER_ID)

    name = f"ticket-{TRANSFER_ID}.zip"
    made = files(name)
    assert (0, "", 0o600) == (ran.code, ran.err, stat.S_IMODE(Path(name).stat().st_mode))
    assert {*evidence.SERIES, "ALERTS"} == set(json.loads(made["metrics.json"])["series"])
    lines = [json.loads(each) for each in made["logs.jsonl"].splitlines()]
    assert ["call_failed", None] == [each.get("event") for each in lines]
    assert {"source": "wallet", "line": f"later {TRANSFER_ID}"} == lines[1]
    [(_, query)] = [each for each in servers.queries if each[0].startswith("/loki")]
    pattern = Subject(TRANSFER_ID, "order-1234").pattern()
    assert f'{{service=~".+"}} |~ `{pattern}`' == query["query"]
    whole = "\n".join(made.values())
    assert not [text for text in (TOKEN, "bob@example.com", "rent", "alice@example.com") if text in whole]
    assert "Waits for: wallet" in made["README.txt"]


async def test_the_logs_of_the_local_stack(gateway: Any, run: Any, transfer: dict[str, Any]) -> None:
    """Lines that contain the transfer or its request; of a list about several transfers only the own part."""
    other = "01890a5d-ac96-774b-bcce-000000000000"
    lines = [
        {"event": "other", "timestamp": "3", "transfer_id": other},
        {
            "event": "second",
            "timestamp": "2",
            "transfers": [f"{other} FAILED r", f"{TRANSFER_ID} COMPLETED order-1234"],
        },
        {"event": "first", "timestamp": "1", "request_id": "order-1234"},
    ]
    local_stack(gateway.url, "\n".join([*map(json.dumps, lines), f"no JSON about {TRANSFER_ID}"]))
    await login(run)

    ran = await run("ticket", TRANSFER_ID, "--output", "t.zip")
    found_lines = [json.loads(line) for line in files("t.zip")["logs.jsonl"].splitlines()]

    assert 0 == ran.code
    assert [None, "first", "second"] == [line.get("event") for line in found_lines]
    assert [f"{TRANSFER_ID} COMPLETED order-1234"] == found_lines[2]["transfers"]
    assert other not in files("t.zip")["logs.jsonl"]


async def test_what_could_not_be_reached(
    gateway: Any, run: Any, servers: Servers, transfer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the rest the archive has the trace, and names each missing part with its reason; credentials are not repeated."""
    monkeypatch.setattr(evidence, "SECONDS", 0.2)
    monkeypatch.setenv("PAYFLOW_PROMETHEUS_URL", servers.url.replace("//", "//user:hunter2@"))
    monkeypatch.setenv("PAYFLOW_LOKI_URL", "http://user:hunter2@127.0.0.1:1")
    gateway.always |= {
        "GET /ops/overview": Faults().refuse(503, "unavailable", retry_after="60"),
        "GET /ops/ledger/proof": Faults().refuse(503, "unavailable", retry_after="60"),
    }
    await login(run)

    ran = await run("ticket", TRANSFER_ID, "--json")

    result, made = json.loads(ran.out), files(f"ticket-{TRANSFER_ID}.zip")
    assert 0 == ran.code
    assert {"overview.json", "proof.json", "metrics.json", "logs.jsonl"} == set(result["missing"])
    assert "Prometheus at PAYFLOW_PROMETHEUS_URL: no response within 0.2 s" == result["missing"]["metrics.json"]
    assert result["missing"]["logs.jsonl"].startswith("Loki at PAYFLOW_LOKI_URL: no connection (")
    assert {"README.txt", "trace.json", "transfer.json", "versions.json"} == set(made) == set(result["files"])
    assert all(name in made["README.txt"] for name in result["missing"])
    assert "hunter2" not in ran.out + "\n".join(made.values())


@pytest.mark.parametrize(
    "response", [{"text": "not JSON"}, {"text": "", "status": 502}, {"data": {}}, {"data": None}, []]
)
async def test_servers_of_another_kind(
    run: Any, servers: Servers, transfer: dict[str, Any], monkeypatch: pytest.MonkeyPatch, response: Any
) -> None:
    """Whatever responds at these addresses, the part is missing and the command succeeds."""
    servers.responses = {"/api/v1/query_range": response, "/loki/api/v1/query_range": response}
    monkeypatch.setenv("PAYFLOW_PROMETHEUS_URL", servers.url)
    monkeypatch.setenv("PAYFLOW_LOKI_URL", servers.url)
    await login(run)

    ran = await run("ticket", TRANSFER_ID, "--json")

    assert (0, {"metrics.json", "logs.jsonl"}) == (ran.code, set(json.loads(ran.out)["missing"]))


async def test_another_gateways_stack(gateway: Any, run: Any, transfer: dict[str, Any]) -> None:
    """The logs of a local stack with another gateway are not taken for those of the transfer."""
    local_stack("http://127.0.0.1:9", json.dumps({"event": "x", "id": TRANSFER_ID}))
    await login(run)

    ran = await run("ticket", TRANSFER_ID)

    assert 0 == ran.code
    assert "logs.jsonl" not in files(f"ticket-{TRANSFER_ID}.zip")
    assert 2 == ran.err.count("this is not the gateway of a local stack")


async def test_errors(gateway: Any, run: Any, transfer: dict[str, Any]) -> None:
    """An existing file, an unknown transfer and a user without the role: one line, and no file is changed."""
    await login(run)
    Path("t.zip").write_text("mine")
    exists = await run("ticket", TRANSFER_ID, "--output", "t.zip")
    unknown = await run("ticket", TRANSFER_ID.replace("8", "9"), "--output", "u.zip")
    await login(run, "alice@example.com")
    refused = await run("ticket", TRANSFER_ID, "--output", "r.zip")

    assert "t.zip exists" in one_line(exists)
    assert "transfer_not_found" in one_line(unknown)
    assert "operator_required" in one_line(refused)
    assert ("mine", False, False) == (Path("t.zip").read_text(), Path("u.zip").exists(), Path("r.zip").exists())


def test_the_series_are_exported() -> None:
    """Each series of a ticket is exported by a role."""
    assert set(evidence.SERIES) <= set(promql.exported())
