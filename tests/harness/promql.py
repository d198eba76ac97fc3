"""PromQL expressions taken apart: which series they read, by which labels. And which series the code exports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser

ROOT = Path(__file__).parents[2]
SOURCES = ("services", "deploy")
"""Where our own metrics are defined."""

TARGET_LABELS = frozenset({"job", "role", "instance"})
"""Labels that Prometheus adds to every series of a target; a label of ours with such a name becomes `exported_NAME`."""

KINDS = {"Gauge": ("",), "Counter": ("",), "Histogram": ("_bucket", "_count", "_sum")}
"""The suffixes of the series of each kind of metric."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A series name and the labels by which it is selected."""

    name: str
    labels: frozenset[str]


def selectors(expression: str) -> list[Selector]:
    """Every selector of an expression; a ValueError if it cannot be parsed."""
    return list(_selectors(promql_parser.parse(expression)))


def _selectors(node: Any) -> Iterator[Selector]:
    if isinstance(node, promql_parser.VectorSelector):
        yield Selector(node.name or "", frozenset(matcher.name for matcher in node.matchers.matchers))
        return
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, str | float):
            yield from _selectors(child)
    for child in getattr(node, "args", []):
        yield from _selectors(child)


@cache
def exported() -> dict[str, frozenset[str]]:
    """The series that our code exports, with their labels as Prometheus stores them: read from the source."""
    series: dict[str, frozenset[str]] = {}
    for path in (path for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))):
        text = path.read_text()
        if "prometheus_client" not in text:
            continue
        for call in ast.walk(ast.parse(text)):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS:
                series |= _series(call.func.id, call)
    return series


def _series(kind: str, call: ast.Call) -> dict[str, frozenset[str]]:
    texts = [ast.literal_eval(argument) for argument in call.args if isinstance(argument, ast.Constant | ast.List)]
    if not texts:  # the Counter of the standard library
        return {}
    name, own = texts[0], texts[2] if len(texts) > 2 else []
    labels = {f"exported_{label}" if label in TARGET_LABELS else label for label in own} | TARGET_LABELS
    return {f"{name}{suffix}": frozenset(labels | ({"le"} if suffix == "_bucket" else set())) for suffix in KINDS[kind]}
