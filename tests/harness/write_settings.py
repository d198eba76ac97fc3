"""The tables of docs/operations/settings.md, from the settings classes; `make readmes` writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from deploy import facts
from deploy.facts import Variable
from services.chassis.settings import PREFIX, ProcessSettings, RoleSettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations" / "settings.md"
BEGIN = "<!-- Written by `make readmes` from the settings classes. -->\n"
END = "<!-- The end of what `make readmes` writes. -->\n"
COLUMNS = ("variable", "default", "secret", "meaning")


def page() -> str:
    """The page as it has to be: the text around the marks as it is, and the tables."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{DOCUMENT} has no lines {BEGIN!r} and {END!r}")
    return before + BEGIN + "\n" + "\n".join(_tables()) + "\n" + END + after


def _tables() -> Iterator[str]:
    common = [PREFIX + name.upper() for name in RoleSettings.model_fields]
    one = facts.ROLES["gateway"].variables
    yield _table("Every role", COLUMNS, (_cells(one[name]) for name in common))
    for service in facts.SERVICES:
        rows = [(*_cells(variable)[:3], ", ".join(names), variable.meaning) for variable, names in _own(service)]
        yield _table(f"`services.{service}`", (*COLUMNS[:3], "read by", COLUMNS[3]), rows)


def _own(service: str) -> Iterator[tuple[Variable, list[str]]]:
    """What the roles and jobs of a service read besides what all read, and the commands that do."""
    readers: dict[Variable, list[str]] = {}
    for process in facts.PROCESSES.values():
        common = (RoleSettings if process.is_role else ProcessSettings).model_fields
        names = {PREFIX + name.upper() for name in common}
        for variable in process.variables.values() if process.service == service else ():
            if variable.name not in names:
                readers.setdefault(variable, []).append(f"`{process.command}`")
    yield from readers.items()


def _cells(variable: Variable) -> tuple[str, str, str, str]:
    return f"`{variable.name}`", default_text(variable), "yes" if variable.is_secret else "", variable.meaning


def default_text(variable: Variable) -> str:
    """The default of a variable as a cell of a table."""
    default: Any = variable.default
    if variable.is_required:
        return "required"
    if default is None or default in ("", frozenset()):
        return "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, float):
        return f"{default:g}"
    return f"`{default}`" if isinstance(default, str) else str(default)


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return f"### {title}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
