"""Alertmanager: the firing alerts. Optional, and never waited for longer than its own short deadline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import structlog
from aiohttp import web

from services.contracts.messages import format_time

SECONDS = 0.5
"""The deadline of the request: the overview is not delayed by more."""

BYTES_MAX = 1024 * 1024
ALERTS_MAX = 200

NONE = "none"
"""The severity of the watchdog, which always fires."""

_PATH = "/api/v2/alerts"
_FIRING = {"active": "true", "silenced": "false", "inhibited": "false", "unprocessed": "false"}

log = structlog.get_logger()


class Alertmanager:
    """One Alertmanager, or none."""

    def __init__(self, address: str | None) -> None:
        self._address = address.rstrip("/") if address is not None else None
        self._session: aiohttp.ClientSession | None = None

    async def list_firing(self) -> list[dict[str, Any]] | None:
        """The firing alerts, the oldest first, without silenced ones and the watchdog; None if they are not known."""
        if self._address is None:
            return None
        try:
            found = [_alert(alert) for alert in await self._read()]
        except (
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
        ) as error:
            log.info("alerts_unavailable", reason=type(error).__name__)
            return None
        firing = [alert for alert in found if alert["severity"] != NONE]
        return sorted(firing, key=lambda alert: (alert["since"], alert["name"]))[:ALERTS_MAX]

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _read(self) -> list[Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with self._session.get(
            f"{self._address}{_PATH}", params=_FIRING, timeout=timeout, allow_redirects=False, raise_for_status=True
        ) as response:
            # A page that never ends must not fill the memory.
            raw = await response.content.read(BYTES_MAX)
            while not response.content.at_eof():
                if len(raw) >= BYTES_MAX:
                    raise ValueError("the response is too large")
                raw += await response.content.read(BYTES_MAX - len(raw))
        found = orjson.loads(raw)
        if not isinstance(found, list):
            raise TypeError("not a list of alerts")
        return found


def _alert(alert: Mapping[str, Any]) -> dict[str, Any]:
    labels, annotations = alert["labels"], alert.get("annotations") or {}
    since = datetime.fromisoformat(alert["startsAt"])
    if since.tzinfo is None:
        raise ValueError("a time without zone")
    runbook = annotations.get("runbook") or annotations.get("runbook_url")
    return {
        "name": str(labels["alertname"]),
        "severity": None if labels.get("severity") is None else str(labels["severity"]),
        "since": format_time(since.astimezone(UTC)),
        "runbook": None if runbook is None else str(runbook),
    }


ALERTS: web.AppKey[Alertmanager] = web.AppKey("alerts")
