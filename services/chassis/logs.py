"""One log pipeline for structlog and the standard library: JSON lines on standard error, or columns for a terminal."""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

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
# Libraries that log every failed connection as an error; our own code logs it once.
_NOISY = ("aio_pika", "aiormq", "aiohttp.access", "asyncio", "alembic", "limits")


def configure(*, service: str, role: str, instance: str, level: str, console: bool) -> None:
    """Configure both logging systems. Lines contain service, role and instance, and the ids that are bound."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_origin(service, role, instance),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer))
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact fields that may contain a secret or an e-mail address, and credentials and addresses inside texts."""
    for name, value in event.items():
        if name in _SECRET_FIELDS:
            event[name] = "[redacted]"
        elif isinstance(value, str) and "@" in value:
            event[name] = _EMAIL.sub("[redacted]", _CREDENTIALS_IN_URL.sub("://[redacted]@", value))
    return event


def _add_origin(service: str, role: str, instance: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["role"] = role
        event["instance"] = instance
        # The trace context belongs to headers and messages; in a log line the request id is enough.
        event.pop("traceparent", None)
        return event

    return add
