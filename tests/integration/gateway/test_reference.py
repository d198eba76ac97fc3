"""Public documents, and the process itself."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sys

import aiohttp
import pytest

from deploy.local.engines import Redis
from deploy.local.ports import find_free
from services.contracts.currencies import PUBLISHED
from services.contracts.money import CURRENCIES, TEST_CURRENCY, WITHDRAWN
from tests.harness import preloaded
from tests.integration.gateway.conftest import SEED, ApiClient, FakeServices, eventually


async def test_currencies_are_cacheable(api: ApiClient) -> None:
    """Every currency with its exponent, without a token, with a tag and a long cache time."""
    response = await api.call("GET", "/api/v1/currencies")
    known = await api.call("GET", "/api/v1/currencies", headers={"If-None-Match": response.headers["ETag"]})

    items = {item["code"]: item for item in response.json()["items"]}
    assert response.headers["Cache-Control"] == "public, max-age=86400"
    assert len(items) == len(CURRENCIES)
    assert (items["USD"]["exponent"], items["JPY"]["exponent"], items["KWD"]["exponent"]) == (2, 0, 3)
    assert {code for code, item in items.items() if item["withdrawn"]} == set(WITHDRAWN)
    assert [code for code, item in items.items() if item["test"]] == [TEST_CURRENCY]
    assert response.json()["published"] == PUBLISHED
    assert known.status == 304


async def test_document_and_pages(api: ApiClient) -> None:
    """The document is served as JSON; the pages load nothing and run no script."""
    document = await api.call("GET", "/api/v1/openapi.json")
    docs = await api.call("GET", "/api/v1/docs")
    home = await api.call("GET", "/?from=somewhere")

    assert document.json()["openapi"] == "3.1.0"
    for page in (docs, home):
        text = page.body.decode()
        assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "script" not in page.headers["Content-Security-Policy"]
        assert "style-src 'sha256-" in page.headers["Content-Security-Policy"]
        assert "<script" not in text
        assert not re.search(r'(?:src|href)="(?![/#])', text)
    assert "insufficient_funds" in docs.body.decode()


async def test_head_works_where_get_does(api: ApiClient, token: str) -> None:
    """HEAD is GET without the body."""
    for path in ("/", "/api/v1/currencies", "/api/v1/docs", "/livez", "/readyz", "/api/v1/wallets"):
        whole = {"Accept-Encoding": "identity"}
        get = await api.call("GET", path, token=token, headers=whole)
        head = await api.call("HEAD", path, token=token, headers=whole)
        assert (head.status, head.body, head.headers["Content-Length"]) == (get.status, b"", str(len(get.body)))


async def test_process_starts_serves_and_stops(
    fakes: FakeServices, redis: Redis, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Guarantee 61: `python -m services.gateway api` serves, and exits with 0 on SIGTERM after finishing requests under way."""
    log = tmp_path_factory.mktemp("gateway") / "log"
    port, metrics_port = find_free(), find_free()
    environment = _environment(fakes, redis.url, port, metrics_port)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.gateway", "api", env=environment, stdout=output, stderr=output
        )
    async with aiohttp.ClientSession() as session:

        async def ready() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{metrics_port}/readyz") as response:
                    return response.status == 200
            except OSError:
                assert process.returncode is None, log.read_text()
                return False

        await eventually(ready)
        async with session.get(f"http://127.0.0.1:{metrics_port}/metrics") as response:
            text = await response.text()
        fakes.wallet.silent = True
        waiting = asyncio.create_task(_status(session, port, fakes.auth.token()))
        await eventually(lambda: _is_asked(fakes))
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0)
        fakes.wallet.silent = False

        assert await waiting == 200
        assert await asyncio.wait_for(process.wait(), 15) == 0
    for result in ("new", "replayed", "in_use", "reused", "cache_unavailable"):
        assert f'payflow_idempotency_total{{result="{result}"}}' in text
    assert "payflow_rate_limited_total" in text
    assert "payflow_http_request_duration_seconds" in text


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PAYFLOW_SERVICE_KEY", ""),
        ("PAYFLOW_REDIS_URL", "redis://:password@127.0.0.1:1/0"),
        ("PAYFLOW_AUTH_URL", "nowhere"),
        ("PAYFLOW_RATE_LIMITS", "sometimes"),
        ("PAYFLOW_REQUESTS_MAX", "0"),
        ("PAYFLOW_ALLOWED_ORIGINS", "*"),
        ("PAYFLOW_GATEWAY_PORT", "99999"),
    ],
)
async def test_process_refuses_bad_settings(fakes: FakeServices, redis: Redis, variable: str, value: str) -> None:
    """Guarantee 55: a missing or default secret or a malformed setting: exit 2, one line that names the variable."""
    environment = _environment(fakes, redis.url, 1, 2) | {variable: value}
    status, _, errors = await preloaded.run_to_end("services.gateway", "api", environment=environment)

    assert status == 2
    assert errors.count("\n") == 1
    assert variable in errors


def _environment(fakes: FakeServices, redis_url: str, port: int, metrics_port: int) -> dict[str, str]:
    public = base64.b64encode(fakes.auth.public_keys["gateway"].public_bytes_raw()).decode()
    return {
        "PATH": os.environ["PATH"],
        "PAYFLOW_HOST": "127.0.0.1",
        "PAYFLOW_GATEWAY_PORT": str(port),
        "PAYFLOW_METRICS_PORT": str(metrics_port),
        "PAYFLOW_AUTH_URL": fakes.auth.url,
        "PAYFLOW_WALLET_URL": fakes.wallet.url,
        "PAYFLOW_TRANSACTION_URL": fakes.transaction.url,
        "PAYFLOW_NOTIFICATION_URL": fakes.notification.url,
        "PAYFLOW_REDIS_URL": redis_url,
        "PAYFLOW_SERVICE_KEY": base64.b64encode(SEED).decode(),
        "PAYFLOW_SERVICE_PUBLIC_KEYS": json.dumps({"gateway": public}),
    }


async def _status(session: aiohttp.ClientSession, port: int, token: str) -> int:
    url = f"http://127.0.0.1:{port}/api/v1/wallets"
    async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status


async def _is_asked(fakes: FakeServices) -> bool:
    return bool(fakes.wallet.calls)
