"""Naming rules of CONTRIBUTING.md as tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("services", "payflow", "deploy") for path in (ROOT / folder).rglob("*.py"))

ABBREVIATIONS = re.compile(
    r"(?i)(^|_)(addr|amt|buf|cfg|cnt|conf|conn|ctx|curr|db|dir|env|fn|func|idx|mgr|msg|num|obj|prev|ptr|pwd|req|resp|ret|"
    r"sess|tmp|tx|txn|usr|util|val)(_|$)"
)
FOREIGN_NAMES = frozenset({"secrets_dir"})
"""A setting that pydantic-settings names."""

LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
METRICS = frozenset({"Counter", "Gauge", "Histogram", "Summary"})


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Every node of every source, with its position."""
    return [
        (f"{name}:{getattr(node, 'lineno', 0)}", node)
        for path in SOURCES
        # Once per file: pathlib takes longer than the walk.
        for name in [str(path.relative_to(ROOT))]
        for node in ast.walk(ast.parse(path.read_text()))
    ]


def names() -> Iterator[tuple[str, str]]:
    """Every name of a variable, a parameter or a function, with its position."""
    for position, node in nodes():
        if isinstance(node, ast.arg):
            yield position, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield position, node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield position, node.name


def test_files_are_named_after_one_thing() -> None:
    """Name a file after the noun it is about; a file called `utils` would accept anything."""
    assert [] == [
        str(path) for path in SOURCES if re.search(r"(^|_)(utils?|helpers?|common|base|managers?|misc)$", path.stem)
    ]


def test_names_are_whole_words() -> None:
    """`connection`, `message`, `configuration`: no abbreviations."""
    found = [(position, name) for position, name in names() if ABBREVIATIONS.search(name.strip("_"))]

    assert [] == [f"{position} {name}" for position, name in found if name not in FOREIGN_NAMES]


def test_limits_end_with_min_or_max() -> None:
    """`amount_max`, not `max_amount`: related names sort together."""
    assert [] == [f"{position} {name}" for position, name in names() if re.match(r"(?i)_?(max|min)_", name)]


def test_get_raises_when_there_is_nothing() -> None:
    """A function that may return None is called `find_…`."""
    assert [] == [
        f"{position} {node.name}"
        for position, node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("get_")
        and node.returns is not None
        and re.search(r"\bNone\b", ast.unparse(node.returns))
    ]


def test_log_events_are_static_names() -> None:
    """`noun_past_participle` as a literal, with variable parts as fields, so that one search finds every line."""
    calls = [
        (position, node)
        for position, node in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LOG_METHODS
        and ast.unparse(node.func.value) == "log"
    ]

    assert len(calls) > 50
    assert [] == [f"{position} {ast.unparse(node)}" for position, node in calls if not _is_static_event(node)]


def _is_static_event(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", str(first.value)) is not None


def test_metrics_have_closed_labels() -> None:
    """A label with an id, an address or a user would create a series for each of them."""
    made = [
        (position, node)
        for position, node in nodes()
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in METRICS
    ]
    labels = [
        (position, ast.unparse(label))
        for position, node in made
        for argument in node.args[2:3]
        for label in ast.walk(argument)
    ]

    assert len(made) > 20
    assert [] == [
        f"{position} {label}"
        for position, label in labels
        if re.search(r"(\b|_)(id|ip|address|email|key|user)'", label)
    ]


def test_statements_are_called_through_their_module() -> None:
    """`store.lock_accounts(...)` and `commands.post_transfers(...)` show the layer of the call."""
    imported = [
        (position, node.module, alias.name)
        for position, node in nodes()
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
        if alias.name.islower()
    ]

    assert [] == [
        f"{position} {module}.{name}"
        for position, module, name in imported
        if re.fullmatch(r"services\.\w+\.(store|commands)(_\w+)?", module)
        and not (ROOT / module.replace(".", "/") / f"{name}.py").exists()
    ]
