"""Errors that the user of the local stack can do something about."""

from __future__ import annotations

from deploy.programs import DeployError


class LocalError(DeployError):
    """A command of the local stack that failed; its text is one line that says what to do."""
