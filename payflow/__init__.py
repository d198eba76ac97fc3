"""The async Python client of PayFlow and the `payflow` command line. Both use the gateway's HTTP API only.

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

_MODULES = {
    "Limits": "payflow.limits",
    "OutcomeUnknown": "payflow.errors",
    "PayFlow": "payflow.client",
    "PayFlowError": "payflow.errors",
    "Problem": "payflow.errors",
    "Transfer": "payflow.transfer",
    "new_key": "payflow.submission",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: `payflow --help` imports this package and must not wait for the HTTP library.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
