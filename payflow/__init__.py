"""PayFlow for those who use it: the async Python client and the `payflow` command line. Both speak HTTP to the gateway only.

from payflow import PayFlow

async with PayFlow("http://127.0.0.1:8000", email="alice@example.com", password="...") as payflow:
    transfer = await payflow.send(amount=1050, currency="USD", to_email="bob@example.com")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from payflow.client import PayFlow
    from payflow.errors import OutcomeUnknown, PayFlowError, Problem
    from payflow.limits import Limits
    from payflow.submission import new_key
    from payflow.transfer import Transfer

__all__ = ["Limits", "OutcomeUnknown", "PayFlow", "PayFlowError", "Problem", "Transfer", "new_key"]

_HOMES = {
    "Limits": "payflow.limits",
    "OutcomeUnknown": "payflow.errors",
    "PayFlow": "payflow.client",
    "PayFlowError": "payflow.errors",
    "Problem": "payflow.errors",
    "Transfer": "payflow.transfer",
    "new_key": "payflow.submission",
}


def __getattr__(name: str) -> Any:
    # The command line imports this package too, and `payflow --help` must not wait for an HTTP library to load.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
