"""Requests generated from the OpenAPI document: valid ones, and values that fit no schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

from services.contracts.identifiers import new_id
from tests.harness.document import Document, Operation

SQL = "'; DROP TABLE users; --"
NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**400, 2**63, "", "\x00", "a\x00b", "\ud800", SQL, "1' OR '1'='1", "x" * 20_000,
    "０１", "../../etc/passwd", "{{7*7}}", [], [[]], ["\x00"], {}, {"\x00": 1}, {"a": {"b": {"c": 1}}},
)  # fmt: skip
NASTY_TEXTS = (
    *(text for text in NASTY if isinstance(text, str) and text != "\ud800" and len(text) < 1000),
    "-1",
    "1e3",
    "NaN",
)
_KNOWN_PATTERNS = {"^[A-Z]{3}$": "USD"}


def value(document: Document, schema: dict[str, Any]) -> Any:
    """A value that is valid under the schema."""
    schema = document.resolve(schema)
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in schema.get("anyOf", ()):
        if choice != {"type": "null"}:
            return value(document, choice)
    made = _MADE.get(schema.get("type", ""))
    return made(document, schema) if made else text(schema)


def text(schema: dict[str, Any]) -> str:
    """A valid text; raises for a pattern without an example."""
    if schema.get("format") == "uuid":
        return str(new_id())
    if schema.get("format") == "email":
        return f"{uuid4().hex}@example.com"
    if schema.get("format") == "date-time":
        return "2026-01-31T12:00:00Z"
    made = _KNOWN_PATTERNS.get(schema.get("pattern", ""), "k" * max(8, schema.get("minLength", 0)))
    made = made[: schema.get("maxLength", len(made))]
    if "examples" in schema:
        made = schema["examples"][0]
    assert re.search(schema.get("pattern", ""), made), f"no example for {schema['pattern']}: add one to this file"
    return made


def fields(document: Document, schema: dict[str, Any]) -> dict[str, Any]:
    """An object with its required members."""
    return {name: value(document, schema["properties"][name]) for name in schema.get("required", ())}


def _list(document: Document, schema: dict[str, Any]) -> list[Any]:
    return [value(document, schema["items"])] * max(1, schema.get("minItems", 0))


def _number(_: Document, schema: dict[str, Any]) -> Any:
    return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)


_MADE: dict[str, Callable[[Document, dict[str, Any]], Any]] = {
    "object": fields,
    "array": _list,
    "integer": _number,
    "number": _number,
    "boolean": lambda _document, _schema: True,
}


def body(document: Document, operation: Operation) -> dict[str, Any] | None:
    """A body with the required members; None if the operation takes none."""
    schema = document.body(operation)
    return None if schema is None else fields(document, schema)


def headers(document: Document, operation: Operation) -> dict[str, str]:
    """The headers that the operation requires."""
    required = (each for each in document.parameters(operation, "header") if each["required"])
    return {each["name"]: uuid4().hex for each in required}


def query(document: Document, operation: Operation) -> dict[str, str]:
    """The query parameters that the operation requires."""
    required = (each for each in document.parameters(operation, "query") if each["required"])
    return {each["name"]: str(value(document, each["schema"])) for each in required}


def leaves(document: Document, schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every member, including nested ones."""
    for name, inner in schema.get("properties", {}).items():
        yield (*path, name)
        choices = [inner, *inner.get("anyOf", ())]
        for choice in choices:
            yield from leaves(document, document.resolve(choice), (*path, name))


def changed(whole: dict[str, Any], path: tuple[str, ...], new: Any) -> dict[str, Any]:
    """A copy with one member replaced."""
    first, *rest = path
    inner = whole.get(first)
    return whole | {first: changed(inner if isinstance(inner, dict) else {}, tuple(rest), new) if rest else new}


def is_unstorable(instance: Any) -> bool:
    """Whether it contains a NUL or a lone surrogate, which no schema excludes."""
    if isinstance(instance, str):
        return bool(re.search("[\x00\ud800-\udfff]", instance))
    if isinstance(instance, dict):
        return any(is_unstorable(part) for pair in instance.items() for part in pair)
    return isinstance(instance, list) and any(is_unstorable(part) for part in instance)
