"""Collection without garbage collection: each process of a run imports all tests, and what it imports stays."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Collect no garbage meanwhile, and afterwards none of what was made: thousands of tests are not scanned repeatedly."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def import_late(name: str) -> Any:
    """Import a module in the test that needs it: one that takes a second of CPU, in each process that collects."""
    return importlib.import_module(name)
