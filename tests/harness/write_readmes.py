"""`make readmes`: write the tables of services/*/README.md and of the settings reference from the code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from deploy import facts
from deploy.local import roles
from services.chassis.dead_letter_api import DeadLetterApi
from services.chassis.health import Health, metrics_application
from services.chassis.roles import Job, Role
from services.chassis.service_tokens import TokenVerifier
from services.chassis.settings import ProcessSettings, RoleSettings
from services.gateway.api import OPERATIONS, reference
from tests.harness import write_settings

SERVICES = Path(__file__).parents[2] / "services"
NAMES = facts.SERVICES
MARK = "<!-- The rest of this page is written by `make readmes`. -->\n"


def document(name: str) -> Path:
    """The page of a service, of the chassis or of the contracts."""
    return SERVICES / name / "README.md"


def page(name: str) -> str:
    """The page as it has to be: the text above the mark as it is, and the tables."""
    written, mark, _ = document(name).read_text().partition(MARK)
    if not mark:
        raise ValueError(f"{document(name)} has no line {MARK!r}")
    return written + mark + "\n" + "\n".join(_sections(name))


def _sections(name: str) -> Iterator[str]:
    if name in NAMES:
        yield from _service(name)
    elif name == "chassis":
        yield _table("Endpoints of every process, on its metrics port", ("method", "path"), _plain_routes())
        yield _table("Environment variables of every role", ("variable", "default"), _common_variables())
        yield _table("Modules", ("module", "holds"), _modules(name))
    else:
        yield _table("Modules", ("module", "holds"), _modules(name))


def _service(name: str) -> Iterator[str]:
    main = importlib.import_module(f"services.{name}.__main__")
    yield _table(
        "Roles and jobs", ("command", "does", "process in `stack.json`"), _commands(name, main.ROLES, main.JOBS)
    )
    if name == "gateway":
        yield _table("Endpoints", ("operation", "access", "API key scope", "does"), _operations())
    elif name != "canary":
        yield _table("Internal endpoints", ("operation", "called by", "does"), _routes(name))
    yield _table("Environment variables", ("variable", "read by", "default"), _variables(main.ROLES | main.JOBS))


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return f"## {title}\n\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _commands(service: str, role_table: dict[str, Role], jobs: dict[str, Job]) -> Iterator[tuple[str, str, str]]:
    for name, role in role_table.items():
        processes = [each.name for each in (*roles.ROLES, roles.CANARY) if (each.service, each.role) == (service, name)]
        does = _summary(role.serve).removeprefix(f"The {name} role: ")
        yield f"`{name}`", does[:1].upper() + does[1:], ", ".join(f"`{process}`" for process in processes)
    for name, job in jobs.items():
        yield f"`{name}`", _summary(job.run), ""


def _operations() -> Iterator[tuple[str, str, str, str]]:
    for row in (*OPERATIONS, *reference.HEALTH):
        scope = f"`{row.scope.value}`" if row.scope else ""
        yield (
            f"`{row.method} {row.path}`",
            row.access.value,
            scope,
            _summary(row.handler) if row.handler else row.summary,
        )


def _routes(service: str) -> Iterator[tuple[str, str, str]]:
    app = web.Application()
    # No request is served: nothing that a handler would need is there.
    verifier = cast("TokenVerifier", None)
    importlib.import_module(f"services.{service}.api").add_routes(app, verifier)
    if service in roles.WITH_BROKER:
        DeadLetterApi.__new__(DeadLetterApi).add_routes(app, verifier)
    for route in app.router.routes():
        if route.method != "HEAD" and route.resource is not None:
            guard = inspect.getclosurevars(route.handler).nonlocals
            callers = ", ".join(f"`{caller}`" for caller in guard["allowed"])
            yield f"`{route.method} {route.resource.canonical}`", callers, _summary(guard["handler"])


def _plain_routes() -> Iterator[tuple[str, str]]:
    for route in metrics_application(Health()).router.routes():
        if route.method != "HEAD" and route.resource is not None:
            yield f"`{route.method}`", f"`{route.resource.canonical}`"


def _variables(commands: dict[str, Role | Job]) -> Iterator[tuple[str, str, str]]:
    readers: dict[tuple[str, str], list[str]] = {}
    for name, command in commands.items():
        for variable, default in _own_fields(command.settings):
            readers.setdefault((variable, default), []).append(f"`{name}`")
    for (variable, default), names in readers.items():
        yield variable, ", ".join(names), default


def _common_variables() -> Iterator[tuple[str, str]]:
    return (_field(name, field) for name, field in RoleSettings.model_fields.items())


def _own_fields(settings: type[BaseSettings]) -> Iterator[tuple[str, str]]:
    common = (RoleSettings if issubclass(settings, RoleSettings) else ProcessSettings).model_fields
    return (_field(name, field) for name, field in settings.model_fields.items() if name not in common)


def _field(name: str, field: FieldInfo) -> tuple[str, str]:
    variable = facts.variable_of(name, field)
    return f"`{variable.name}`", write_settings.default_text(variable)


def _modules(name: str) -> Iterator[tuple[str, str]]:
    for path in sorted((SERVICES / name).rglob("*.py")):
        # Alembic loads its script by path; it is no module of a package.
        if path.stem != "__init__" and (path.parent / "__init__.py").exists():
            module = ".".join(path.relative_to(SERVICES / name).with_suffix("").parts)
            yield f"`{module}`", _summary(importlib.import_module(f"services.{name}.{module}"))


def _summary(documented: Callable[..., Any] | object) -> str:
    """The first paragraph of a docstring, on one line."""
    text = inspect.getdoc(documented) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


PAGES = (*NAMES, "chassis", "contracts")

if __name__ == "__main__":
    for each in PAGES:
        document(each).write_text(page(each))
    write_settings.DOCUMENT.write_text(write_settings.page())
