"""What the logs of the running system contain; all logs are searched for secrets when the stack ends."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit
from uuid import uuid4

from tests.harness import leaks
from tests.harness.api import ApiClient, Person
from tests.harness.stack import Stack


async def raw(api: ApiClient, request: bytes) -> bytes:
    """The gateway's response to these raw bytes."""
    address = urlsplit(api.base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(30):
        response = await reader.read(4096)
    writer.close()
    return response


async def test_input_forges_no_line(stack: Stack, api: ApiClient, operator: Person, alice: Person, bob: Person) -> None:
    """Guarantee 54: line breaks in a request id, an address, a text or a path do not create a log line of their own."""
    mark = f"forged-{uuid4().hex}"
    line = "\r\n" + json.dumps({"event": mark, "service": "gateway"}) + "\r\n"
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": bob.wallet_id}, "description": line}
    sent = await alice.post(
        "/transfers", body, key=uuid4().hex, headers={"Prefer": "wait=20", "X-Request-Id": f"{{{mark}"}
    )
    await api.send("POST", "/auth/login", json={"email": f"{mark}{line}@example.com", "password": f"{mark}{line}"})
    await api.send("POST", "/auth/register", json={"email": f"a{line}@example.com", "password": "x" * 9, "name": line})
    await alice.get(f"/transfers/%0d%0a{mark}%0d%0a")
    await operator.get(f"/ops/transfers/%0d%0a{mark}%0d%0a/timeline")
    folded = await raw(
        api,
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\r\n {%s\r\n\r\n" % mark.encode(),
    )
    logs = list((stack.home / "logs").glob("*.log"))
    events = [
        document["event"]
        for log in logs
        if log.stem not in leaks.ENGINES
        for text in log.read_text(errors="replace").split("\n")
        if text.startswith("{") and isinstance(document := json.loads(text), dict)
    ]

    assert sent.status in (200, 202), sent
    assert b"400" in folded.partition(b"\r\n")[0] or b"200" in folded.partition(b"\r\n")[0]
    assert sent.headers["X-Request-Id"] != f"{{{mark}"
    assert mark not in events
    assert [] == leaks.forged(stack.home / "logs")
    assert not [
        log.name for log in logs for text in log.read_text(errors="replace").split("\n") if text.startswith(mark)
    ]
