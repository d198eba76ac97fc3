"""Settings of the canary's role."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from services.chassis.settings import RoleSettings, Secret


class CanarySettings(RoleSettings):
    """The probe role."""

    gateway_url: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s?#@]+/?$")]
    """The gateway: the published address, or the one inside of the deployment."""

    canary_secret: Secret
    """The passwords of both probe accounts are derived from it."""

    canary_every_seconds: Annotated[float, Field(gt=0, le=60)] = 30.0
    """The pause between two transfers, at most 60 s: two minutes without one are an alert."""
