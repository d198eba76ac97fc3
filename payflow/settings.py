"""Settings of the command line: the gateway's address, the password, the folder of the sessions.

The only module of this package that reads environment variables.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from payflow.address import parse_address
from payflow.errors import Misconfigured

if TYPE_CHECKING:
    from payflow.ticket import Sources

GATEWAY_DEFAULT = "http://127.0.0.1:8000"
STACK_FOLDER = Path(".payflow")
"""Of a stack that was started in the working folder; PAYFLOW_HOME names another one."""


def find_gateway(option: str | None) -> str:
    """The gateway: the option, else PAYFLOW_GATEWAY, else that of the running stack, else the default.

    The stack is that of PAYFLOW_HOME, or of the working folder.

    Raises:
        Misconfigured: it is not an address, or the file of the stack cannot be read.
    """
    # A value that is given but empty is an error: the default could be another system, with other money.
    named = os.environ.get("PAYFLOW_GATEWAY") if option is None else option
    if named is None:
        named = _gateway_of_stack(_stack_file())
    return parse_address(GATEWAY_DEFAULT if named is None else named)


def password_given() -> str | None:
    """The password from PAYFLOW_PASSWORD, for scripts; None to prompt for it."""
    return os.environ.get("PAYFLOW_PASSWORD")


def sessions_folder() -> Path:
    """The folder of the sessions, below the user's configuration folder."""
    # By the XDG specification an empty variable counts as unset; click would use the working folder.
    if os.environ.get("XDG_CONFIG_HOME") == "":
        return Path.home() / ".config" / "payflow" / "sessions"
    return Path(click.get_app_dir("payflow")) / "sessions"


def find_sources(gateway: str) -> Sources:
    """Where metrics and log lines of this gateway are: the servers that are named, else the local stack if it is its gateway.

    Raises:
        Misconfigured: as `find_gateway`.
    """
    from payflow.ticket import Sources  # noqa: PLC0415 - loads the HTTP client

    prometheus = os.environ.get("PAYFLOW_PROMETHEUS_URL") or None
    loki = os.environ.get("PAYFLOW_LOKI_URL") or None
    # The logs of another system would look like those of the transfer.
    local = _gateway_of_stack(_stack_file())
    if local is None or parse_address(local) != gateway:
        return Sources(prometheus, loki)
    stack = _stack_file()
    processes = json.loads(stack.read_text(encoding="utf-8")).get("metrics") or {}
    return Sources(prometheus, loki, stack.parent / "logs", processes)


def _stack_file() -> Path:
    """The description of the stack that runs on this machine, if there is one.

    Raises:
        Misconfigured: PAYFLOW_HOME is empty.
    """
    home = os.environ.get("PAYFLOW_HOME")
    if home == "":
        raise Misconfigured("PAYFLOW_HOME is empty: set it to a folder, or unset it")
    return (STACK_FOLDER if home is None else Path(home)) / "stack.json"


def _gateway_of_stack(path: Path) -> str | None:
    try:
        stack = json.loads(path.read_text(encoding="utf-8"))
        return str(stack["gateway"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}; name the gateway with --gateway") from error
    except (ValueError, KeyError, TypeError) as error:
        # No fallback: another gateway could show, or move, other money.
        raise Misconfigured(f"{path} names no gateway; name it with --gateway") from error
