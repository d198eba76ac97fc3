"""`payflow api-keys`: API keys for servers."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from payflow import command, prompts, prose
from payflow.api_key import SCOPES, CreatedApiKey
from payflow.command import Invocation


@click.group("api-keys")
def api_keys() -> None:
    """Create, list and revoke API keys for your servers."""


@api_keys.command
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What the key may do; can be repeated.",
)
@click.option(
    "--expires", metavar="DATE", type=click.DateTime(["%Y-%m-%d"]), help="The UTC day on which the key expires."
)
@click.option("--totp", metavar="CODE", help="A code of the second factor, or a recovery code.")
@command.standard
def create(
    invocation: Invocation, *, name: str, scopes: tuple[str, ...], expires: datetime | None, totp: str | None
) -> None:
    """Create a key called NAME.

    Your password is taken from PAYFLOW_PASSWORD, or else prompted for, and so is the code of a second factor if it is
    enabled. Standard output is the key alone. It is shown only once: the server stores only its hash.
    """
    expires_at = expires.replace(tzinfo=UTC) if expires is not None else None
    password = prompts.password("Your password")

    def attempt(code: str | None) -> CreatedApiKey:
        return invocation.call(
            lambda payflow: payflow.create_api_key(name, scopes, password=password, totp=code, expires_at=expires_at)
        )

    created = prompts.with_code(attempt, totp)
    if invocation.as_json:
        invocation.print_json(created.listed.document)
        return
    listed = created.listed
    line = f"created {listed.name} ({listed.id}) for {', '.join(listed.scopes)}; the key is shown only once:"
    click.echo(prose.printable(line), err=True)
    click.echo(created.key)


@api_keys.command("list")
@command.standard
def list_keys(invocation: Invocation) -> None:
    """List your keys that were not revoked, newest first."""
    found = invocation.call(lambda payflow: payflow.api_keys())
    if invocation.as_json:
        invocation.print_json({"items": [key.document for key in found]})
    else:
        from payflow import tables  # noqa: PLC0415 - loads rich

        tables.print_api_keys(found)


@api_keys.command
@click.argument("key_id", metavar="ID")
@command.standard
def revoke(invocation: Invocation, key_id: str) -> None:
    """Revoke the key with this ID, everywhere within a second."""
    invocation.call(lambda payflow: payflow.revoke_api_key(key_id))
    if invocation.as_json:
        invocation.print_json({"id": key_id, "revoked": True})
    else:
        click.echo(prose.printable(f"revoked {key_id}"))
