"""`payflow login` and `payflow logout`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from payflow import command, prompts, prose
from payflow.command import Invocation

if TYPE_CHECKING:
    from payflow.session import User


@click.command
@click.argument("email")
@click.option("--totp", metavar="CODE", help="A code of the second factor, or a recovery code.")
@command.standard
def login(invocation: Invocation, email: str, totp: str | None) -> None:
    """Log in as EMAIL.

    The password is taken from PAYFLOW_PASSWORD, or else prompted for, and so is the code of a second factor if it is enabled.
    The session is stored in a file that only you can read, one for each gateway, and refreshed automatically.
    """
    password = prompts.password(f"Password of {email}")

    def attempt(code: str | None) -> User:
        return invocation.call(lambda payflow: payflow.login(email, password, totp=code))

    user = prompts.with_code(attempt, totp)
    if invocation.as_json:
        found = {"id": user.id, "email": user.email, "name": user.name, "role": user.role}
        invocation.print_json({"gateway": invocation.gateway, "user": found})
    else:
        line = f"logged in to {invocation.gateway} as {user.email} ({user.role})"
        click.echo(prose.printable(line))


@click.command
@command.standard
def logout(invocation: Invocation) -> None:
    """End the session, here and at the gateway."""
    invocation.call(lambda payflow: payflow.logout())
    if invocation.as_json:
        invocation.print_json({"gateway": invocation.gateway, "logged_out": True})
    else:
        click.echo(f"logged out of {invocation.gateway}")
