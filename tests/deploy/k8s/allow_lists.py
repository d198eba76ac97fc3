"""Compares custom resources with the lists of allowed fields in `custom_resources/`.

The API server of a cluster would refuse an unknown field; here there is none. Each list holds only the fields that PayFlow uses,
with their types, and names the version and the files in which they were read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("custom_resources")

_DURATION = re.compile(r"([0-9]+(ms|s|m|h))+")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")

Resource = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is allowed in the resources of one kind."""

    api_version: str
    name: str
    fields: Mapping[str, str | list[str]]
    """The type or the possible values of a field, by its path."""
    required: tuple[str, ...]
    variants: tuple[str, ...]
    """Lists whose items have other fields for each value of `type`."""


@dataclass(frozen=True, slots=True)
class AllowList:
    """The kinds of one project, and where their fields were read."""

    project: str
    version: str
    sources: tuple[str, ...]
    kinds: tuple[Kind, ...]


def read_lists() -> list[AllowList]:
    """All lists."""
    return [_read(path) for path in sorted(FOLDER.glob("*.yml"))]


def find_faults(resource: Resource, kind: Kind) -> list[str]:
    """What is wrong with a resource: unknown and missing fields, and values of a wrong type."""
    faults = []
    for path, value in _leaves(resource, kind):
        allowed = kind.fields.get(path)
        if allowed is None:
            faults.append(f"{path}: unknown field")
        elif not _fits(value, allowed):
            faults.append(f"{path}: {value!r} is not {allowed}")
    faults += [f"{path}: missing" for path in kind.required if _get(resource, path) is None]
    return faults


def used_fields(resource: Resource, kind: Kind) -> set[str]:
    """The paths that a resource has, as they are written in the list."""
    return {path for path, _ in _leaves(resource, kind)}


def _read(path: Path) -> AllowList:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    kinds = tuple(
        Kind(
            api_version=kind["apiVersion"],
            name=kind["kind"],
            fields=kind["fields"],
            required=tuple(kind["required"]),
            variants=tuple(kind.get("variants", ())),
        )
        for kind in content["kinds"]
    )
    return AllowList(path.stem, content["version"], tuple(content["sources"]), kinds)


def _leaves(resource: Resource, kind: Kind) -> Iterator[tuple[str, Any]]:
    """The fields of a resource with their paths, apart from apiVersion, kind and metadata, which Kubernetes defines."""
    for name, value in resource.items():
        if name not in ("apiVersion", "kind", "metadata"):
            yield from _leaves_below(name, value, kind)


def _leaves_below(path: str, value: Any, kind: Kind) -> Iterator[tuple[str, Any]]:
    if path in kind.fields or not value:
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves_below(f"{path}.{name}", inner, kind)
    elif isinstance(value, list):
        for item in value:
            variant = item.get("type", "") if path in kind.variants else ""
            yield from _leaves_below(f"{path}[{variant}]", item, kind)
    else:
        yield path, value


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str) and bool(value),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "map": lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
    "empty": lambda value: value == {},
    "duration": lambda value: isinstance(value, str) and bool(_DURATION.fullmatch(value)),
    "quantity": lambda value: isinstance(value, str) and bool(_QUANTITY.fullmatch(value)),
    "PodSpec": lambda value: isinstance(value, dict),
}


def _fits(value: Any, allowed: str | list[str]) -> bool:
    return value in allowed if isinstance(allowed, list) else _CHECKS[allowed](value)


def _get(resource: Resource, path: str) -> Any:
    value: Any = resource
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
