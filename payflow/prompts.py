"""Prompts of the command line: a password, and a code of the second factor if one is enabled."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

TOTP_REQUIRED = "totp_required"

T = TypeVar("T")


def password(prompt: str) -> str:
    """The password from PAYFLOW_PASSWORD, else from the terminal.

    Raises:
        click.UsageError: there is neither.
    """
    from payflow import settings  # noqa: PLC0415 - not needed for a help text

    given = settings.password_given()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to prompt for the password; set PAYFLOW_PASSWORD")
    return str(click.prompt(prompt, hide_input=True, err=True))


def with_code(attempt: Callable[[str | None], T], totp: str | None) -> T:
    """The result of an attempt with this code; prompts for a code if the gateway requires one, and tries again."""
    from payflow.errors import Problem  # noqa: PLC0415 - not needed for a help text

    try:
        return attempt(totp)
    except Problem as problem:
        if problem.code != TOTP_REQUIRED or not sys.stdin.isatty():
            raise
    return attempt(str(click.prompt("Code of the second factor", err=True)))
