"""A module that says it is pure is held to it by import-linter."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACT = "Rules are pure: no driver, transport, log or metric, directly or through others"


def pure_modules() -> set[str]:
    """The modules and packages of services whose docstring has the word `pure`."""
    sources = {path: ast.get_docstring(ast.parse(path.read_text())) for path in (ROOT / "services").rglob("*.py")}
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path, text in sources.items()
        if re.search(r"\bpure\b", text or "", re.IGNORECASE)
    }


def test_pure_modules_are_in_the_contract() -> None:
    """Enter a new one in `pyproject.toml`, under "Rules are pure"; below a package that is listed it is covered."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (listed,) = (contract["source_modules"] for contract in contracts if contract["name"] == CONTRACT)
    pure = pure_modules()

    assert len(pure) > 10
    assert [] == sorted(
        module for module in pure if not any(module == name or module.startswith(f"{name}.") for name in listed)
    )
