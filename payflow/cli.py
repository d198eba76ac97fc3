"""The `payflow` command line: the program, its commands, and the one-line error messages.

A command imports everything but click when it runs, so that `payflow --help` is fast.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence

import click
from click.exceptions import NoArgsIsHelpError

from payflow.command import EXIT_CHECK_FAILED, CheckFailed
from payflow.commands.api_keys import api_keys
from payflow.commands.audit import audit
from payflow.commands.canary import canary
from payflow.commands.dead_letters import dead_letters
from payflow.commands.events import events
from payflow.commands.keys import keys
from payflow.commands.ledger import ledger
from payflow.commands.login import login, logout
from payflow.commands.queue import queue
from payflow.commands.send import send
from payflow.commands.stuck import stuck
from payflow.commands.ticket import ticket
from payflow.commands.trace import trace
from payflow.commands.transfers import transfers
from payflow.commands.users import users
from payflow.commands.wallets import wallets
from payflow.errors import NotLoggedIn, PayFlowError, SessionEnded
from payflow.prose import printable

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--gateway", metavar="URL", help="The address of the gateway; also an option of every command.")
@click.pass_context
def program(context: click.Context, gateway: str | None) -> None:
    """Inspect and operate PayFlow through its gateway.

    The gateway is --gateway, else PAYFLOW_GATEWAY, else that of the stack in PAYFLOW_HOME, by default
    .payflow in the working folder, else http://127.0.0.1:8000.

    Exit codes: 0 success, 1 error, 2 usage error, 3 the check found something: the ledger failed
    verification, or transfers take too long.
    """
    context.obj = gateway


_COMMANDS = (
    *(login, logout, send, transfers, wallets, trace, events, api_keys),
    *(queue, stuck, ticket, dead_letters, ledger, users, keys, audit, canary),
)
for _command in _COMMANDS:
    program.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. An error is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal cannot encode must not end a command.
            stream.reconfigure(errors="replace")
    try:
        result = program.main(args=arguments, prog_name="payflow", standalone_mode=False)
    except NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _fail(_click_line(error), error.exit_code)
    except click.Abort:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except CheckFailed as failed:
        return _fail(str(failed), EXIT_CHECK_FAILED)
    except PayFlowError as error:
        return _fail(_line(error), EXIT_ERROR)
    return result if isinstance(result, int) else 0


def _fail(line: str, exit_code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"payflow: {printable(line)}", file=sys.stderr)
    return exit_code


def _line(error: PayFlowError) -> str:
    if isinstance(error, (NotLoggedIn, SessionEnded)):
        return f"{error}: run `payflow login EMAIL`"
    if error.retry_after_seconds:
        return f"{error}; try again in {error.retry_after_seconds:.0f} s"
    return str(error)


def _click_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" (see `{context.command_path} --help`)" if context is not None else ""
    return f"{error.format_message().rstrip('.')}{hint}"
