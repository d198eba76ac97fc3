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
"""Where a service listens: scheme, host and port, no credentials."""


_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:]+\])(?::(?P<port>[1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def _origins(text: object) -> object:
    return frozenset(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def _check_origins(origins: frozenset[str]) -> frozenset[str]:
    for origin in origins:
        match = _ORIGIN.fullmatch(origin)
        # What a browser never sends could only be a mistake: a path, a capital, a port that goes without saying.
        if match is None or match["port"] == _DEFAULT_PORTS[match["scheme"]]:
            raise ValueError(
                "is not a list of origins as browsers send them, https://app.example.com,http://localhost:5173"
            )
    return origins


OriginList = Annotated[frozenset[str], NoDecode, BeforeValidator(_origins), AfterValidator(_check_origins)]
"""Origins, separated by commas: scheme, host, and port where it is not the usual one. Never a pattern."""

PublicUrl = Annotated[
    Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$")] | None,
    BeforeValidator(lambda text: text or None),
]
"""Where people reach the web front end."""


def _check_networks(text: str) -> str:
    try:
        parse_networks(text)
    except ValueError:
        raise ValueError("is not a list of networks such as 10.0.0.0/8,2001:db8::/32") from None
    return text


PerMinute = Annotated[int, Field(ge=10, le=10_000_000)]
"""So many in a minute."""

REQUESTS_MAX = 1024
"""Twice what the calls under way carry: 256 clients never meet it, and a crowd of thousands waits seconds, not its turn."""

PASSWORDS_MAX = 56
"""About what waits for auth's threads at most: one more would be refused there, for several times the price."""

STREAMS_MAX = 2000
"""Streams of events that one process keeps open."""


CONNECTIONS_MAX = 8000
"""Below what a process may usually open; each costs a few kilobytes."""

CONNECTIONS_PER_ADDRESS_MAX = 1000
"""Many people share an address; 500 connections that only wait leave them as many."""


class GatewaySettings(RoleSettings):
    """The api role."""

    gateway_port: Port = 8000
    auth_url: Address
    wallet_url: Address
    transaction_url: Address
    notification_url: Address
    redis_url: EngineUrl
    public_url: PublicUrl = None
    allowed_origins: OriginList = frozenset()
    rate_limits: Literal["on", "off"] = "on"
    rate_limit_address: PerMinute = 30_000
    rate_limit_user: PerMinute = 6_000
    rate_limit_key: PerMinute = 6_000
    rate_limit_login: PerMinute = 300
    trusted_proxies: Annotated[str, AfterValidator(_check_networks)] = ""
    streams_max: Annotated[int, Field(ge=1)] = STREAMS_MAX
    passwords_max: Annotated[int, Field(ge=1, le=64)] = PASSWORDS_MAX
    requests_max: Annotated[int, Field(ge=1)] = REQUESTS_MAX
    connections_max: Annotated[int, Field(ge=1)] = CONNECTIONS_MAX
    connections_per_address_max: Annotated[int, Field(ge=1)] = CONNECTIONS_PER_ADDRESS_MAX

    @property
    def own_origin(self) -> str | None:
        """The origin of the pages at the public address; None where none is set."""
        if self.public_url is None:
            return None
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def trusted_networks(self) -> tuple[Network, ...]:
        """The proxies whose `X-Forwarded-For` is believed."""
        return parse_networks(self.trusted_proxies)
