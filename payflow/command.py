"""What every command has: --gateway, --json, a client to ask, and an identifier it checks before it asks."""

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

EXIT_NOT_PROVEN = 3
ID_EXAMPLE = "01890a5d-ac96-774b-bcce-b302099a8057"


class Wrong(Exception):  # noqa: N818 - reads as what it is
    """The command did its work, and what it found is wrong; the text is one line for a person."""

    def __init__(self, line: str, *, exit_code: int) -> None:
        super().__init__(line)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of a command: which gateway it speaks to and how it answers."""

    gateway: str
    as_json: bool

    def ask(self, question: Callable[[PayFlow], Awaitable[T]]) -> T:
        """What the gateway answers to the person who is logged in there."""
        import asyncio  # noqa: PLC0415 - with the HTTP client half a second of loading: only for commands that need it

        return asyncio.run(self._ask(question))

    def print_json(self, document: Any) -> None:
        """The whole of standard output when --json is given."""
        click.echo(json.dumps(document, indent=2))

    async def _ask(self, question: Callable[[PayFlow], Awaitable[T]]) -> T:
        from payflow import client, limits, session, settings  # noqa: PLC0415

        keeper = session.FileKeeper(settings.sessions_folder(), self.gateway)
        async with client.PayFlow(self.gateway, keeper=keeper, limits=limits.BRISK) as payflow:
            return await question(payflow)


def standard(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command --gateway and --json; it gets them as an `Invocation`, its first argument."""

    @click.option("--gateway", metavar="URL", help="The gateway to ask.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
    @functools.wraps(function)
    def invoke(*arguments: Any, gateway: str | None, as_json: bool, **rest: Any) -> Any:
        from payflow import settings  # noqa: PLC0415 - reading files and JSON can wait

        named = click.get_current_context().find_root().obj if gateway is None else gateway
        found = settings.find_gateway(named)
        return function(Invocation(found, as_json), *arguments, **rest)

    return invoke


def check_head(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A head of the sealed blocks, refused here when it cannot be one."""
    if value is None or re.fullmatch(r"[1-9][0-9]{0,17}:[0-9a-f]{64}", value):
        return value
    message = f"{value!r} is not a head: a block's number, a colon and 64 hexadecimal digits"
    raise click.BadParameter(message, ctx=context, param=parameter)


def check_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The identifier of a transfer in its canonical form, refused here when it cannot be one."""
    return _check(context, parameter, value, "transfer")


def check_letter_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The identifier of a dead letter, as `check_id`."""
    return _check(context, parameter, value, "dead letter")


def check_user_id(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The identifier of a user, if one is given, as `check_id`."""
    return None if value is None else _check(context, parameter, value, "user")


def _check(context: click.Context, parameter: click.Parameter, value: str, noun: str) -> str:
    try:
        identifier = str(uuid.UUID(value))
    except ValueError:
        identifier = ""
    # UUID() would also take braces, urn: and missing hyphens.
    if not identifier or identifier != value.lower():
        message = f"{value!r} is not the id of a {noun}; one looks like {ID_EXAMPLE}"
        raise click.BadParameter(message, ctx=context, param=parameter)
    return identifier
