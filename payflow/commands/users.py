"""`payflow users`: show, promote, disable and enable a user (for operators)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from payflow import command, prose
from payflow.command import Invocation

if TYPE_CHECKING:
    from payflow.account import Account
    from payflow.client import PayFlow


@click.group
def users() -> None:
    """Show and change users (for operators)."""


@users.command
@click.argument("email")
@command.standard
def show(invocation: Invocation, email: str) -> None:
    """Show the user with the e-mail address EMAIL."""
    _show(invocation, invocation.call(lambda payflow: payflow.operator.find_user(email)))


@users.command
@click.argument("email")
@click.option("--role", type=click.Choice(["user", "operator"]), default="operator", show_default=True)
@command.standard
def promote(invocation: Invocation, email: str, role: str) -> None:
    """Give the user EMAIL a role.

    A user who loses the role operator is logged out everywhere. You cannot demote yourself.
    """
    _change(invocation, email, lambda payflow, account: payflow.operator.set_role(account.id, role))


@users.command
@click.argument("email")
@click.option("--reason", required=True, help="Why; stored in the audit log and shown to operators.")
@command.standard
def disable(invocation: Invocation, email: str, reason: str) -> None:
    """Disable EMAIL and end all sessions.

    The user can neither log in nor be found by e-mail. Payments to the user's wallet id still arrive; an operator stops them
    with `PUT /api/v1/ops/wallets/{id}/freeze`.
    """
    _change(invocation, email, lambda payflow, account: payflow.operator.disable_user(account.id, reason))


@users.command
@click.argument("email")
@command.standard
def enable(invocation: Invocation, email: str) -> None:
    """Enable EMAIL again; the user has to log in again."""
    _change(invocation, email, lambda payflow, account: payflow.operator.enable_user(account.id))


def _change(invocation: Invocation, email: str, change: Callable[[PayFlow, Account], Awaitable[Account]]) -> None:
    async def find_and_change(payflow: PayFlow) -> Account:
        return await change(payflow, await payflow.operator.find_user(email))

    _show(invocation, invocation.call(find_and_change))


def _show(invocation: Invocation, account: Account) -> None:
    if invocation.as_json:
        invocation.print_json(account.document)
        return
    facts = [account.role, f"second factor {'enabled' if account.totp else 'disabled'}"]
    if account.disabled_at is not None:
        facts.append(f"disabled since {account.disabled_at:%Y-%m-%d %H:%M} UTC: {account.disabled_reason}")
    click.echo(prose.printable(f"{account.email} ({account.name}, {account.id}): {', '.join(facts)}"))
