"""One trace of a transfer, from the gateway to both ledger entries and the notification; and no cost when it is off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import pytest

from deploy.local import seed
from payflow import PayFlow
from tests.harness import otlp_sink
from tests.harness.databases import DataFolder
from tests.harness.otlp_sink import Received, Sink
from tests.harness.stack import Stack, running

HOPS = {
    ("gateway", "POST /api/v1/transfers"),
    ("transaction", "accept transfer"),
    ("transaction", "publish transfers.requested"),
    ("transaction", "process transfers.requested"),
    ("wallet", "post transfer"),
    ("wallet", "debit entry"),
    ("wallet", "credit entry"),
    ("transaction", "publish transfers.finalized"),
    ("notification", "process notifications.transfers-finalized"),
}
CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def traced(
    tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder
) -> AsyncIterator[tuple[Stack, Sink]]:
    """A stack that sends its spans to a sink."""
    with otlp_sink.running() as sink:
        async with running(
            tmp_path_factory.mktemp("traced"), {"PAYFLOW_OTLP_ENDPOINT": sink.url}, data=data_folder
        ) as stack:
            yield stack, sink


async def test_one_trace_from_the_gateway_to_both_entries(traced: tuple[Stack, Sink]) -> None:
    """Every hop is in the trace that the gateway began, or in that of a caller that is sampled; none in one that is not."""
    stack, sink = traced
    async with PayFlow(stack["gateway"], email=seed.ALICE, password=seed.PASSWORD) as alice:
        sent = await alice.send(amount=100, currency="USD", to_email=seed.BOB)
        token = await alice._authentication.token()
    spans = await spans_of(sink, sent.id)
    [root] = [span for span in spans if span.service == "gateway"]
    [post] = [span for span in spans if span.name == "post transfer"]

    assert HOPS == {(span.service, span.name) for span in spans}
    assert 1 == len({span.trace_id for span in spans})
    assert "" == root.parent_id
    for span in spans:
        if span is not root:
            assert (post if "entry" in span.name else root).span_id == span.parent_id, span.name
    entries = {span.name: span.attributes["payflow.wallet_id"] for span in spans if "entry" in span.name}
    assert {"debit entry": sent.from_wallet_id, "credit entry": sent.to_wallet_id} == entries

    unsampled = await pay(stack, token, f"00-{'ab' * 16}-00f067aa0ba902b7-00")
    sampled = await pay(stack, token, f"00-{CALLERS_TRACE}-00f067aa0ba902b7-01")
    spans = await spans_of(sink, sampled)
    [root] = [span for span in spans if span.service == "gateway"]
    assert ({CALLERS_TRACE}, "00f067aa0ba902b7") == ({span.trace_id for span in spans}, root.parent_id)
    assert [] == [span for span in sink.spans if span.attributes.get("payflow.transfer_id") == unsampled]


async def pay(stack: Stack, token: str, traceparent: str) -> str:
    """Make a payment with the trace context of a caller; the id of the transfer, which is final."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Idempotency-Key": uuid4().hex,
        "Prefer": "wait=30",
        "traceparent": traceparent,
    }
    body = {"amount": 1, "currency": "USD", "to": {"email": seed.BOB}}
    url = f"{stack['gateway']}/api/v1/transfers"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        assert response.status == 200
        return str((await response.json())["id"])


async def spans_of(sink: Sink, transfer_id: str) -> list[Received]:
    """The spans of a transfer and of the request that made it, once all hops have sent theirs."""
    async with asyncio.timeout(60):
        while True:
            of_transfer = [one for one in sink.spans if one.attributes.get("payflow.transfer_id") == transfer_id]
            traces = {span.trace_id for span in of_transfer}
            found = [
                one
                for one in sink.spans
                if one in of_transfer or (one.trace_id in traces and one.name == "POST /api/v1/transfers")
            ]
            if HOPS <= {(span.service, span.name) for span in found}:
                return found
            await asyncio.sleep(0.1)


def test_nothing_is_imported_when_it_is_off() -> None:
    """No role loads the exporter unless an endpoint is configured. The Redis client looks for metrics by itself."""
    code = (
        "import sys, importlib\n"
        "for name in ('gateway', 'auth', 'wallet', 'transaction', 'notification', 'canary'):\n"
        "    importlib.import_module(f'services.{name}.__main__')\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.exporter', 'opentelemetry.sdk.trace'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]\n" == done.stdout
