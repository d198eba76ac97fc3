"""What the command line is told from outside: the gateway's address, the password, where sessions are kept.

The only place of this package that reads environment variables.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from payflow.address import parse_address
from payflow.errors import Misconfigured

GATEWAY_DEFAULT = "http://127.0.0.1:8000"
STACK_FILE = Path(".payflow") / "stack.json"


def find_gateway(option: str | None) -> str:
    """The gateway: the option, else PAYFLOW_GATEWAY, else the stack running below the working folder, else the default.

    Raises:
        Misconfigured: what was found is not an address, or the file of the stack cannot be read.
    """
    # One that is given and empty is an error: another gateway could show, or move, other money.
    named = os.environ.get("PAYFLOW_GATEWAY") if option is None else option
    if named is None:
        named = _gateway_of_stack(STACK_FILE)
    return parse_address(GATEWAY_DEFAULT if named is None else named)


def password_given() -> str | None:
    """The password from PAYFLOW_PASSWORD, for scripts; None when a person is to be asked."""
    return os.environ.get("PAYFLOW_PASSWORD")


def sessions_folder() -> Path:
    """Where sessions are kept, below the configuration folder of the person who runs this."""
    # By the XDG specification an empty variable is as good as none; click would take the working folder.
    if os.environ.get("XDG_CONFIG_HOME") == "":
        return Path.home() / ".config" / "payflow" / "sessions"
    return Path(click.get_app_dir("payflow")) / "sessions"


def _gateway_of_stack(path: Path) -> str | None:
    try:
        stack = json.loads(path.read_text(encoding="utf-8"))
        return str(stack["gateway"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}; name the gateway with --gateway") from error
    except (ValueError, KeyError, TypeError) as error:
        # Falling back to another gateway could show, or move, somebody else's money.
        raise Misconfigured(f"{path} names no gateway; name it with --gateway") from error
