"""`make guarantees`: write docs/guarantee-tests.md, the tests that show each guarantee, from the docstrings of the tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "guarantee-tests.md"
GUARANTEES = ROOT / "docs" / "guarantees.md"

_CITED = re.compile(r"Guarantees? (?P<numbers>[0-9]+[a-z]?(?:(?:, | and )[0-9]+[a-z]?)*)(?:, [a-z][^:]*)?:")
_NUMBER = re.compile(r"[0-9]+[a-z]?")
_ROW = re.compile(r"^\| (?P<number>[0-9]+[a-z]?) \| (?P<text>[^|]+) \| (?P<shown>[^|]+) \|", re.MULTILINE)

_HEAD = """\
# Tests of the guarantees

The tests that show each guarantee of [guarantees.md](guarantees.md), by the number at the start of their docstring.
Run one with `make test T=` and its name; the name of a file stands for all its tests. This page is written by `make guarantees`;
a test compares them.

"""


def rows() -> dict[str, tuple[str, str]]:
    """By number: the text of each guarantee, and what it says it is shown by."""
    found = _ROW.finditer(GUARANTEES.read_text())
    return {match["number"]: (match["text"].strip(), match["shown"].strip()) for match in found}


def tests() -> dict[str, list[str]]:
    """By number: the names of the tests that cite it."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, docstring in _docstrings(path):
            cited = _CITED.match(docstring)
            for number in _NUMBER.findall(cited["numbers"]) if cited is not None else ():
                found.setdefault(number, []).append(name)
    return found


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    name, module = str(path.relative_to(ROOT)), ast.parse(path.read_text())
    yield name, ast.get_docstring(module) or ""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield f"{name}::{node.name}", ast.get_docstring(node) or ""


def page() -> str:
    """The page as it has to be."""
    shown = tests()
    parts = [
        f"**{number}** {text}\n\n" + "".join(f"- `{name}`\n" for name in shown[number])
        for number, (text, _) in rows().items()
        if number in shown
    ]
    return _HEAD + "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(page())
