"""`payflow login` and `payflow logout`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from payflow import command, prose
from payflow.command import Invocation

if TYPE_CHECKING:
    from payflow.session import User

TOTP_REQUIRED = "totp_required"


@click.command
@click.argument("email")
@click.option("--totp", metavar="CODE", help="A code of the second factor, or a recovery code.")
@command.standard
def login(invocation: Invocation, email: str, totp: str | None) -> None:
    """Log in as EMAIL.

    The password is taken from PAYFLOW_PASSWORD, else asked for; so is the code of a second factor, where one is on. The session
    is kept in a file that only you can read, one for each gateway, and renewed by itself.
    """
    user = _log_in(invocation, email, totp)
    if invocation.as_json:
        person = {"id": user.id, "email": user.email, "name": user.name, "role": user.role}
        invocation.print_json({"gateway": invocation.gateway, "user": person})
    else:
        line = f"logged in to {invocation.gateway} as {user.email} ({user.role})"
        click.echo(prose.printable(line))


@click.command
@command.standard
def logout(invocation: Invocation) -> None:
    """End the session, here and at the gateway."""
    invocation.ask(lambda payflow: payflow.logout())
    if invocation.as_json:
        invocation.print_json({"gateway": invocation.gateway, "logged_out": True})
    else:
        click.echo(f"logged out of {invocation.gateway}")


def _log_in(invocation: Invocation, email: str, totp: str | None) -> User:
    from payflow.errors import Problem  # noqa: PLC0415 - loaded with the first command that runs

    password = _password(email)
    try:
        return invocation.ask(lambda payflow: payflow.login(email, password, totp=totp))
    except Problem as problem:
        if problem.code != TOTP_REQUIRED or not sys.stdin.isatty():
            raise
    code = str(click.prompt("Code of the second factor", err=True))
    return invocation.ask(lambda payflow: payflow.login(email, password, totp=code))


def _password(email: str) -> str:
    from payflow import settings  # noqa: PLC0415 - loaded with the first command that runs

    given = settings.password_given()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password; set PAYFLOW_PASSWORD")
    return str(click.prompt(f"Password of {email}", hide_input=True, err=True))
