"""Ratchets: no new function or file beyond a size, no new function with more than three positional parameters.

The lists name those that were beyond the limits when the rule became a test. An entry is removed when its function or file has
become small enough, and its figure is lowered when it shrank. No entry is added and no figure raised: split the function or the
file, make parameters keyword-only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("services", "payflow", "deploy") for path in (ROOT / folder).rglob("*.py"))

FUNCTION_LINES_MAX = 40
"""With its docstring: what a screen shows."""

FILE_LINES_MAX = 400

POSITIONAL_MAX = 3
"""Beside `self` or `cls`. A call with more of them does not say what they are."""

LONG_FUNCTIONS: dict[str, int] = {
    "payflow/transport.py::Transport.send": 44,
    "services/auth/api.py::add_routes": 46,
    "services/chassis/client.py::Upstream.call": 45,
}
"""Functions beyond the limit, and their lines."""

LONG_FILES: dict[str, int] = {
    "payflow/client.py": 402,
    "services/auth/api.py": 435,
    "services/auth/schemas.py": 488,
}
"""Files beyond the limit, and their lines."""

MANY_POSITIONAL: dict[str, int] = {
    "services/chassis/client.py::Upstream.__init__": 4,
    "services/chassis/dead_letters.py::_entry": 4,
    "services/chassis/dead_letters.py::discard": 4,
    "services/chassis/dead_letters.py::read": 4,
    "services/chassis/dead_letters.py::replay": 4,
    "services/chassis/roles.py::_run_job": 4,
    "services/chassis/roles.py::run": 4,
    "services/chassis/watchdog.py::Connection.handle_error": 4,
    "services/gateway/api/reference_page.py::_group": 4,
    "services/gateway/api/reference_page.py::_operation": 4,
    "services/gateway/api/reference_page.py::_request": 4,
    "services/transaction/app.py::_open_upstream": 4,
    "services/transaction/intake.py::Intake._draft_one": 4,
    "services/transaction/monitor.py::Monitor.__init__": 4,
    "services/transaction/overview.py::_queue": 4,
    "services/transaction/reversal.py::void_transfers": 4,
    "services/transaction/store.py::find_wallets": 4,
    "services/transaction/store.py::list_finalized": 4,
    "services/transaction/transfer.py::request_hash": 4,
    "services/wallet/chain.py::_name": 4,
    "services/wallet/commands.py::_insert_block": 4,
    "services/wallet/ledger.py::_decide_one": 4,
    "services/wallet/ledger.py::_without_money": 4,
    "services/wallet/ledger.py::decide": 4,
    "services/wallet/store.py::find_accounts": 4,
    "services/wallet/store.py::insert_account": 4,
    "services/wallet/store.py::insert_voids": 4,
}
"""Functions beyond the limit, and their positional parameters."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function, bool]]:
    """All functions below a node: qualified name, definition, and whether it is a method."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield f"{prefix}{child.name}", child, isinstance(node, ast.ClassDef)
        inner = f"{prefix}{child.name}." if isinstance(child, Function | ast.ClassDef) else prefix
        yield from functions(child, inner)


def positional(function: Function, *, method: bool) -> int:
    """The number of positional parameters, without `self` and `cls`."""
    static = any(isinstance(each, ast.Name) and each.id == "staticmethod" for each in function.decorator_list)
    return len(function.args.posonlyargs) + len(function.args.args) - (method and not static)


@cache
def measured() -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Functions, files and parameter lists beyond the limits."""
    long_functions, long_files, many_positional = {}, {}, {}
    for path in SOURCES:
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        if (lines := text.count("\n")) > FILE_LINES_MAX:
            long_files[name] = lines
        for qualified, function, method in functions(ast.parse(text), f"{name}::"):
            if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX:
                long_functions[qualified] = lines
            if (number := positional(function, method=method)) > POSITIONAL_MAX:
                many_positional[qualified] = number
    return long_functions, long_files, many_positional


def test_functions_fit_a_screen() -> None:
    """At most 40 lines; see the head of this file for what to do."""
    assert measured()[0] == LONG_FUNCTIONS


def test_files_stay_readable() -> None:
    """At most 400 lines; see the head of this file for what to do."""
    assert measured()[1] == LONG_FILES


def test_parameters_beyond_three_are_keyword_only() -> None:
    """At most three positional parameters; see the head of this file for what to do."""
    assert measured()[2] == MANY_POSITIONAL


def test_parameters_are_counted() -> None:
    """`self`, `cls` and keyword-only parameters do not count; those of a static method and of a nested function do."""
    tree = ast.parse(
        "def f(a, b, /, c, *, d): ...\n"
        "class C:\n"
        "    def m(self, a): ...\n"
        "    @classmethod\n"
        "    def k(cls, a, b): ...\n"
        "    @staticmethod\n"
        "    def s(a, b):\n"
        "        def n(a): ...\n"
    )

    assert [(name, positional(function, method=method)) for name, function, method in functions(tree, "")] == [
        ("f", 3),
        ("C.m", 1),
        ("C.k", 2),
        ("C.s", 2),
        ("C.s.n", 1),
    ]
