"""`python -m tests.performance.observed FILE MODULE ROLE`: a role, without metrics and logs if FILE exists at its start.

Only the benchmark has this switch. It replaces functions before the role starts, so that services need no branch for it.
"""

from __future__ import annotations

import importlib
import runpy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from services.chassis import logs

METRICS = {
    Counter: ("inc",),
    Gauge: ("inc", "dec", "set", "set_to_current_time"),
    Histogram: ("observe",),
}
"""Methods that record a value."""

RECORDERS = {
    "services.gateway": (("services.gateway.intake", "_report"),),
    "services.transaction": (
        ("services.transaction.metrics", "count_results"),
        ("services.transaction.metrics", "count_accepted"),
        ("services.transaction.commands", "_log_finalized"),
    ),
}
"""Functions of a service that only count or log, by module: without them nothing is collected for either."""


def switch_off(service: str) -> None:
    """Replace what records metrics, and log no event below critical: no line is built."""
    for kind, methods in METRICS.items():
        for method in methods:
            _replace(kind, method, _nothing)
        _replace(kind, "labels", _itself)
    _replace(logs, "configure", partial(_configure, logs.configure))
    for module, function in RECORDERS.get(service, ()):
        _replace(importlib.import_module(module), function, _nothing)
    if service == "services.transaction":
        metrics = importlib.import_module("services.transaction.metrics")
        _replace(metrics, "count_finalized", partial(_add_completions, metrics.COMPLETIONS))


def _replace(owner: object, name: str, replacement: Callable[..., Any]) -> None:
    """Replace an attribute that exists."""
    assert callable(getattr(owner, name)), name
    setattr(owner, name, replacement)


def _configure(configure: Callable[..., None], **settings: Any) -> None:
    configure(**settings | {"level": "critical"})


def _add_completions(completions: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """What a service needs for its responses, from what it counts."""
    now, monotonic = time.time(), time.monotonic()
    for row in rows:
        completions.add(max(0.0, now - row["created_at"].timestamp()), now=monotonic)


def _nothing(*_arguments: object, **_named: object) -> None:
    pass


def _itself(metric: object, *_values: object, **_named: object) -> object:
    return metric


def main(arguments: Sequence[str]) -> None:
    """Run the module as `python -m` does."""
    file, module, *rest = arguments
    if Path(file).exists():
        switch_off(module)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
