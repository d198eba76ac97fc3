"""`payflow login` and `payflow logout`."""

from __future__ import annotations

import sys

import click

from payflow import command, prose
from payflow.command import Invocation


@click.command
@click.argument("email")
@command.standard
def login(invocation: Invocation, email: str) -> None:
    """Log in as EMAIL.

    The password is taken from PAYFLOW_PASSWORD, else asked for. The session is kept in a file that only you can read,
    one for each gateway, and renewed by itself.
    """
    password = _password(email)
    user = invocation.ask(lambda payflow: payflow.login(email, password))
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


def _password(email: str) -> str:
    from payflow import settings  # noqa: PLC0415 - loaded with the first command that runs

    given = settings.password_given()
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password; set PAYFLOW_PASSWORD")
    return str(click.prompt(f"Password of {email}", hide_input=True, err=True))
