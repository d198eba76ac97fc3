"""Settings of the canary's role."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from services.chassis.settings import RoleSettings, Seconds, Secret


class CanarySettings(RoleSettings):
    """The probe role."""

    gateway_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s?#@]+/?$")]
    """The gateway: the published address, or the one inside of the deployment."""

    canary_secret: Secret
    """The passwords of both probe accounts are derived from it."""

    canary_every_seconds: Seconds = 30.0
    """The pause between two transfers."""
