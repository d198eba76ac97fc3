"""`payflow api-keys`: keys for servers."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from payflow import command, prompts, prose
from payflow.api_key import SCOPES, CreatedApiKey
from payflow.command import Invocation


@click.group("api-keys")
def api_keys() -> None:
    """Make, list and revoke API keys for servers of yours."""


@api_keys.command
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="May be given again.")
@click.option("--expires", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), help="The UTC day on which it ends.")
@click.option("--totp", metavar="CODE", help="A code of the second factor, or a recovery code.")
@command.standard
def create(
    invocation: Invocation, name: str, scopes: tuple[str, ...], expires: datetime | None, totp: str | None
) -> None:
    """Make a key called NAME.

    Your password is taken from PAYFLOW_PASSWORD, else asked for; so is the code of a second factor, where one is on.
    The key alone goes to standard output, this once: it is kept nowhere, only its hash.
    """
    expires_at = expires.replace(tzinfo=UTC) if expires is not None else None
    password = prompts.password("Your password")

    def attempt(code: str | None) -> CreatedApiKey:
        return invocation.ask(
            lambda payflow: payflow.create_api_key(name, scopes, password=password, totp=code, expires_at=expires_at)
        )

    made = prompts.with_code(attempt, totp)
    if invocation.as_json:
        invocation.print_json(made.listed.document)
        return
    line = (
        f"made {made.listed.name} ({made.listed.id}) for {', '.join(made.listed.scopes)}; the key is shown this once:"
    )
    click.echo(prose.printable(line), err=True)
    click.echo(made.key)


@api_keys.command("list")
@command.standard
def list_keys(invocation: Invocation) -> None:
    """Show your keys that were not revoked, newest first."""
    found = invocation.ask(lambda payflow: payflow.api_keys())
    if invocation.as_json:
        invocation.print_json({"items": [key.document for key in found]})
    else:
        from payflow import tables  # noqa: PLC0415 - rich is loaded only to print a table

        tables.print_api_keys(found)


@api_keys.command
@click.argument("key_id", metavar="ID")
@command.standard
def revoke(invocation: Invocation, key_id: str) -> None:
    """End the key with this ID, everywhere within a second."""
    invocation.ask(lambda payflow: payflow.revoke_api_key(key_id))
    if invocation.as_json:
        invocation.print_json({"id": key_id, "revoked": True})
    else:
        click.echo(prose.printable(f"revoked {key_id}"))
