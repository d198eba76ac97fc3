"""`payflow users`: look at a user, give a role, disable, enable (for operators)."""

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
    """Look at users and act on them (for operators)."""


@users.command
@click.argument("email")
@command.standard
def show(invocation: Invocation, email: str) -> None:
    """Show the user registered with EMAIL."""
    _tell(invocation, invocation.ask(lambda payflow: payflow.find_user(email)))


@users.command
@click.argument("email")
@click.option("--role", type=click.Choice(["user", "operator"]), default="operator", show_default=True)
@command.standard
def promote(invocation: Invocation, email: str, role: str) -> None:
    """Give the user registered with EMAIL a role.

    Who loses the operator's role is logged out everywhere. Nobody takes it from themselves.
    """
    _act(invocation, email, lambda payflow, account: payflow.set_role(account.id, role))


@users.command
@click.argument("email")
@click.option("--reason", required=True, help="Why; kept in the audit log and shown to operators.")
@command.standard
def disable(invocation: Invocation, email: str, reason: str) -> None:
    """Disable EMAIL: no login, all sessions end, and the user is no longer found by e-mail.

    Payments to the user's wallet id still arrive; an operator stops them with `PUT /api/v1/ops/wallets/{id}/freeze`.
    """
    _act(invocation, email, lambda payflow, account: payflow.disable_user(account.id, reason))


@users.command
@click.argument("email")
@command.standard
def enable(invocation: Invocation, email: str) -> None:
    """Let EMAIL in again; they have to log in anew."""
    _act(invocation, email, lambda payflow, account: payflow.enable_user(account.id))


def _act(invocation: Invocation, email: str, action: Callable[[PayFlow, Account], Awaitable[Account]]) -> None:
    async def ask(payflow: PayFlow) -> Account:
        return await action(payflow, await payflow.find_user(email))

    _tell(invocation, invocation.ask(ask))


def _tell(invocation: Invocation, account: Account) -> None:
    if invocation.as_json:
        invocation.print_json(account.document)
        return
    facts = [account.role, f"second factor {'on' if account.totp else 'off'}"]
    if account.disabled_at is not None:
        facts.append(f"disabled since {account.disabled_at:%Y-%m-%d %H:%M} UTC: {account.disabled_reason}")
    click.echo(prose.printable(f"{account.email} ({account.name}, {account.id}): {', '.join(facts)}"))
