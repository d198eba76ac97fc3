"""Settings of the gateway's role."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from services.chassis.settings import EngineUrl, Port, RoleSettings

Address = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s?#@]+/?$")]
"""Where a service listens: scheme, host and port, no credentials."""


REQUESTS_MAX = 1024
"""Twice what the calls under way carry: 256 clients never meet it, and a crowd of thousands waits seconds, not its turn."""

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
    rate_limits: Literal["on", "off"] = "on"
    streams_max: Annotated[int, Field(ge=1)] = STREAMS_MAX
    requests_max: Annotated[int, Field(ge=1)] = REQUESTS_MAX
    connections_max: Annotated[int, Field(ge=1)] = CONNECTIONS_MAX
    connections_per_address_max: Annotated[int, Field(ge=1)] = CONNECTIONS_PER_ADDRESS_MAX
