"""What a statement does to the rows of large tables, as `EXPLAIN ANALYZE` reports it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

YEAR_MAX = 9999
MODES = ("force_generic_plan", "force_custom_plan")


class Work(NamedTuple):
    """The work of one execution. `blocks` counts index and table blocks, so it includes index entries that were skipped."""

    rows: int
    blocks: int
    scanned: list[str]
    """Tables with a sequential scan."""

    plan: str


class Examiner:
    """Run statements on one connection, with generic or custom plans."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._names: dict[str, str] = {}

    async def use(self, mode: str) -> None:
        """Plan all statements again in one of `MODES`."""
        await self._connection.execute("DEALLOCATE ALL")
        self._names.clear()
        await self._connection.execute(f"SET plan_cache_mode = {mode}")

    async def examine(self, statement: str, arguments: Sequence[object]) -> Work:
        """Run a statement and measure its work."""
        if statement not in self._names:
            parameters = (await self._connection.prepare(statement)).get_parameters()
            types = ", ".join(f"{kind.schema}.{kind.name}" for kind in parameters)
            name = self._names[statement] = f"examined_{len(self._names)}"
            await self._connection.execute(f"PREPARE {name} ({types}) AS {statement}")
        literals = ", ".join(_literal(argument) for argument in arguments)
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {self._names[statement]} ({literals})"
        return _read(await self._connection.fetchval(explained))


def _read(output: str) -> Work:
    plan = json.loads(output)[0]["Plan"]
    nodes = [node for node in _nodes(plan) if "Relation Name" in node]
    return Work(
        rows=int(sum(_examined(node) * node["Actual Loops"] for node in nodes)),
        blocks=plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        scanned=[node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan" and node["Actual Loops"]],
        plan=output,
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _examined(node: dict[str, Any]) -> float:
    removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")
    return float(node["Actual Rows"] + sum(node.get(name, 0) for name in removed))


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        return f"ARRAY[{', '.join(_literal(one) for one in value)}]"
    if isinstance(value, datetime):
        return "'infinity'" if value.year == YEAR_MAX else f"'{value.isoformat()}'"
    if isinstance(value, bool | int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


async def superuser(url: str) -> asyncpg.Connection:
    """A connection that fills tables quickly: triggers and foreign keys are not checked."""
    return await asyncpg.connect(url, server_settings={"session_replication_role": "replica"}, statement_cache_size=0)
