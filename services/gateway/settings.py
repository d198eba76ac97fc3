"""Settings of the gateway's role."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_settings import NoDecode

from services.chassis.settings import EngineUrl, Port, RoleSettings
from services.gateway.address import Network, parse_networks

Address = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s?#@]+/?$")]
"""The address of a service: scheme, host and port, no credentials."""

OptionalAddress = Annotated[Address | None, BeforeValidator(lambda text: text or None)]

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(?::(?P<port>[1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origins(text: object) -> object:
    return frozenset(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def _check_origins(origins: frozenset[str]) -> frozenset[str]:
    for origin in origins:
        match = _ORIGIN.fullmatch(origin)
        # An origin that no browser sends is a mistake: one with a path, a capital letter or the default port.
        if match is None or match["port"] == _DEFAULT_PORTS[match["scheme"]]:
            raise ValueError(
                "is not a list of origins as browsers send them, https://app.example.com,http://localhost:5173"
            )
    return origins


OriginList = Annotated[frozenset[str], NoDecode, BeforeValidator(_origins), AfterValidator(_check_origins)]
"""Origins, separated by commas: scheme, host, and port unless it is the default. Patterns are not supported."""

PublicUrl = Annotated[
    Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$")] | None,
    BeforeValidator(lambda text: text or None),
]
"""The public URL of the web front end."""


def _check_networks(text: str) -> str:
    try:
        parse_networks(text)
    except ValueError:
        raise ValueError("is not a list of networks such as 10.0.0.0/8,2001:db8::/32") from None
    return text


PerMinute = Annotated[int, Field(ge=10, le=10_000_000)]
"""Requests per minute."""

REQUESTS_MAX = 1024
"""Twice what the batches under way carry: 256 clients never reach it, and thousands are refused in seconds instead of queued."""

PASSWORDS_MAX = 56
"""About the queue of auth's hashing threads: one more would be refused there, at several times the cost."""

STREAMS_MAX = 2000
"""Event streams that one process keeps open."""

CONNECTIONS_MAX = 8000
"""Below what a process may usually open; each costs a few kilobytes."""

CONNECTIONS_PER_ADDRESS_MAX = 1000
"""Many users may share an address: 500 idle connections leave as many for the others."""


class GatewaySettings(RoleSettings):
    """The api role."""

    gateway_port: Port = 8000
    """The port of the public API."""

    auth_url: Address
    """Auth's API."""

    wallet_url: Address
    """The wallet's API."""

    transaction_url: Address
    """The transaction service's API."""

    notification_url: Address
    """The notification service's API."""

    redis_url: EngineUrl
    """Finished responses, shared rate limits and wake-ups. Nothing is lost without it."""

    alertmanager_url: OptionalAddress = None
    """Alertmanager, whose firing alerts `/ops/overview` lists; empty: none."""

    public_url: PublicUrl = None
    """The web front end; its origin is also the gateway's own."""

    allowed_origins: OriginList = frozenset()
    """Web pages of these origins may use the API, separated by commas."""

    rate_limits: Literal["on", "off"] = "on"
    """`off` disables rate limits and login delays, for load tests on a private machine."""

    rate_limit_address: PerMinute = 30_000
    """Requests per minute per network address."""

    rate_limit_user: PerMinute = 6_000
    """Requests per minute per user."""

    rate_limit_key: PerMinute = 6_000
    """Requests per minute per API key."""

    rate_limit_login: PerMinute = 300
    """Logins per minute per network address."""

    trusted_proxies: Annotated[str, AfterValidator(_check_networks)] = ""
    """Networks of the proxies whose `X-Forwarded-For` is trusted, separated by commas."""

    streams_max: Annotated[int, Field(ge=1)] = STREAMS_MAX
    """Open event streams of a process."""

    passwords_max: Annotated[int, Field(ge=1, le=64)] = PASSWORDS_MAX
    """Concurrent password checks (1 to 64)."""

    requests_max: Annotated[int, Field(ge=1)] = REQUESTS_MAX
    """Transfers that may wait to be accepted."""

    connections_max: Annotated[int, Field(ge=1)] = CONNECTIONS_MAX
    """Client connections of a process."""

    connections_per_address_max: Annotated[int, Field(ge=1)] = CONNECTIONS_PER_ADDRESS_MAX
    """Client connections per peer address."""

    @property
    def own_origin(self) -> str | None:
        """The origin of the public URL; None if it is not set."""
        if self.public_url is None:
            return None
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        """The proxies whose `X-Forwarded-For` is trusted."""
        return parse_networks(self.trusted_proxies)
