"""What the command line asks a person for: a password, and a code of the second factor where one is on."""

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
    from payflow import settings  # noqa: PLC0415 - loaded with the first command that runs

    given = settings.password_given()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password; set PAYFLOW_PASSWORD")
    return str(click.prompt(prompt, hide_input=True, err=True))


def with_code(attempt: Callable[[str | None], T], totp: str | None) -> T:
    """What comes of an attempt with this code, or with one that is asked for when it turns out that one is needed."""
    from payflow.errors import Problem  # noqa: PLC0415 - loaded with the first command that runs

    try:
        return attempt(totp)
    except Problem as problem:
        if problem.code != TOTP_REQUIRED or not sys.stdin.isatty():
            raise
    return attempt(str(click.prompt("Code of the second factor", err=True)))
