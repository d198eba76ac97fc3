"""One log pipeline for structlog and the standard library: JSON lines on standard error, or columns for a terminal."""

from __future__ import annotations

import json
import logging
import re
import sys
import time

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from services.chassis import tracing
from services.chassis.log_lines import LineBuffer

_SECRET_FIELDS = frozenset(
    {
        "password",
        "token",
        "access_token",
        "refresh_token",
        "authorization",
        "secret",
        "key",
        "email",
        "dsn",
        "url",
    }
)
_CREDENTIALS_IN_URL = re.compile(r"://[^/@\s]*@")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_DETAIL = re.compile(r"DETAIL: .*?(?=\n\n(?:The above exception|During handling)|\Z)", re.DOTALL)
"""What PostgreSQL says about a row that it refused: the values of the row or key, and so what a customer wrote."""

# Libraries that log every failed connection as an error; our own code logs it once.
_NOISY = ("aio_pika", "aiormq", "aiohttp.access", "asyncio", "alembic", "limits")

_lines: LineBuffer | None = None


def configure(*, service: str, role: str, instance: str, level: str, console: bool) -> None:
    """Configure both logging systems. Lines contain service, role and instance, and the id of the request that is bound."""
    global _lines  # noqa: PLW0603 - one per process
    lines = _lines = LineBuffer(sys.stderr)
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        _add_origin(service, role, instance),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer() if console else render
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_names: lines,
        cache_logger_on_first_use=True,
    )
    # At exit, the standard library flushes its handlers, and with this one the lines that wait.
    handler = logging.StreamHandler(lines)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer))
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def flush() -> None:
    """Write all lines now: the process is about to be killed."""
    if _lines is not None:
        _lines.flush()


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact fields that may contain a secret or an e-mail address, and credentials, addresses and rows inside texts."""
    exception = event.get("exception")
    if isinstance(exception, str) and "DETAIL: " in exception:
        event["exception"] = _DETAIL.sub("DETAIL: [redacted]", exception)
    for name, value in event.items():
        if name in _SECRET_FIELDS:
            event[name] = "[redacted]"
        elif isinstance(value, str) and "@" in value:
            event[name] = _EMAIL.sub("[redacted]", _CREDENTIALS_IN_URL.sub("://[redacted]@", value))
    return event


def render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """The line as JSON in ASCII: no other character may end a line, or control a terminal that shows it."""
    try:
        line = orjson.dumps(event, default=repr)
    except TypeError:
        # Half of a surrogate pair, for instance in the path of a request.
        return json.dumps(event, default=repr)
    return line.decode() if line.isascii() else json.dumps(event, default=repr)


def _add_origin(service: str, role: str, instance: str) -> Processor:
    second, prefix = 0, ""

    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        nonlocal second, prefix
        now, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        if now != second:
            second, prefix = now, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        event["timestamp"] = f"{prefix}.{microseconds:06d}Z"
        event["service"] = service
        event["role"] = role
        event["instance"] = instance
        if "request_id" not in event and (request_id := tracing.bound_request_id()) is not None:
            event["request_id"] = request_id
        return event

    return add
