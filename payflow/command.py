"""What all commands share: --gateway, --json, a client, and checks of identifiers."""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from payflow.client import PayFlow

T = TypeVar("T")

EXIT_CHECK_FAILED = 3
ID_EXAMPLE = "01890a5d-ac96-774b-bcce-b302099a8057"


class CheckFailed(Exception):  # noqa: N818 - a finding, not a fault of the command
    """The command ran, and the check found a violation; the text is one line."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a command: its gateway and its output format."""

    gateway: str
    as_json: bool

    def call(self, work: Callable[[PayFlow], Awaitable[T]]) -> T:
        """The result of `work` with a client in the stored session."""
        import asyncio  # noqa: PLC0415 - loads for half a second, with the HTTP client

        return asyncio.run(self._call(work))

    def print_json(self, document: Any) -> None:
        """Print the whole standard output of a command with --json."""
        click.echo(json.dumps(document, indent=2))

    async def _call(self, work: Callable[[PayFlow], Awaitable[T]]) -> T:
        from payflow import client, limits, session, settings  # noqa: PLC0415

        store = session.FileSessionStore(settings.sessions_folder(), self.gateway)
        async with client.PayFlow(self.gateway, session_store=store, limits=limits.INTERACTIVE) as payflow:
            return await work(payflow)


def standard(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --gateway and --json to a command, which receives them as an `Invocation`, its first argument."""

    @click.option("--gateway", metavar="URL", help="The address of the gateway.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
    @functools.wraps(function)
    def invoke(*arguments: Any, gateway: str | None, as_json: bool, **rest: Any) -> Any:
        from payflow import settings  # noqa: PLC0415 - not needed for a help text

        named = click.get_current_context().find_root().obj if gateway is None else gateway
        found = settings.find_gateway(named)
        return function(Invocation(found, as_json), *arguments, **rest)

    return invoke


def check_head(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A head of the sealed blocks; rejected here if it is malformed."""
    if value is None or re.fullmatch(r"[1-9][0-9]{0,17}:[0-9a-f]{64}", value):
        return value
    message = f"{value!r} is not a head: a block's number, a colon and 64 hexadecimal digits"
    raise click.BadParameter(message, ctx=context, param=parameter)


def check_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The id of a transfer in its canonical form; rejected here if it is malformed."""
    return _check(context, parameter, value, noun="transfer")


def check_optional_id(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The id of a transfer, if one is given, as `check_id`."""
    return None if value is None else _check(context, parameter, value, noun="transfer")


def check_dead_letter_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The id of a dead letter, as `check_id`."""
    return _check(context, parameter, value, noun="dead letter")


def check_user_id(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The id of a user, if one is given, as `check_id`."""
    return None if value is None else _check(context, parameter, value, noun="user")


def _check(context: click.Context, parameter: click.Parameter, value: str, *, noun: str) -> str:
    try:
        identifier = str(uuid.UUID(value))
    except ValueError:
        identifier = ""
    # UUID() also accepts braces, urn: and missing hyphens.
    if not identifier or identifier != value.lower():
        message = f"{value!r} is not the id of a {noun}; one looks like {ID_EXAMPLE}"
        raise click.BadParameter(message, ctx=context, param=parameter)
    return identifier
