"""The OpenAPI document of a running gateway, and whether a response matches it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import aiohttp
import jsonschema_rs

PROBLEM = "application/problem+json"
SECURITY_HEADERS = (
    "X-Content-Type-Options",
    "Content-Security-Policy",
    "Cache-Control",
    "Referrer-Policy",
    "Strict-Transport-Security",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    definition: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_public(self) -> bool:
        return not self.definition["security"]

    @property
    def is_for_operators(self) -> bool:
        return self.path.startswith("/api/v1/ops/")

    @property
    def placeholders(self) -> list[str]:
        """The names in braces in the path."""
        return re.findall(r"{(\w+)}", self.path)


@dataclass
class Document:
    """The document and its checks; each schema's validator is built once."""

    raw: dict[str, Any]
    _validators: dict[str, Any] = field(default_factory=dict)

    @classmethod
    async def of(cls, session: aiohttp.ClientSession, base: str) -> Document:
        """Fetch the document of the gateway at `base`."""
        async with session.get(f"{base}/api/v1/openapi.json") as response:
            return cls(await response.json())

    @cached_property
    def operations(self) -> list[Operation]:
        """All operations in document order."""
        return [
            Operation(method.upper(), path, definition)
            for path, methods in self.raw["paths"].items()
            for method, definition in methods.items()
        ]

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], dict[str, Operation]]]:
        # A path without placeholders takes precedence.
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in self.operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        ordered = sorted(by_path.items(), key=lambda item: item[0].count("{"))
        return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), methods) for path, methods in ordered]

    def resolve(self, value: Any) -> Any:
        """Follow references; return any other value unchanged."""
        while isinstance(value, dict) and "$ref" in value:
            found: Any = self.raw
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            value = found
        return value

    def parameters(self, operation: Operation, where: str) -> list[dict[str, Any]]:
        """The parameters in "query", "path" or "header"."""
        resolved = (self.resolve(parameter) for parameter in operation.definition["parameters"])
        return [parameter for parameter in resolved if parameter["in"] == where]

    def body(self, operation: Operation) -> dict[str, Any] | None:
        """The schema of the request body, None without one."""
        definition = operation.definition.get("requestBody")
        if definition is None:
            return None
        found: dict[str, Any] = self.resolve(definition["content"]["application/json"]["schema"])
        return found

    def is_list(self, operation: Operation) -> bool:
        """Whether the response is a page of items."""
        content = self.resolve(operation.definition["responses"].get("200", {})).get("content", {})
        return "items" in self.resolve(content.get("application/json", {}).get("schema", {})).get("properties", {})

    def fits(self, schema: dict[str, Any], instance: Any) -> bool:
        """Whether an instance is valid under a schema of this document."""
        return bool(self._validator(str(id(schema)), schema).is_valid(instance))

    def faults(self, method: str, path: str, status: int, headers: Mapping[str, str], content: bytes) -> list[str]:
        """How a response deviates from the document; `path` is without its query."""
        return list(self._faults(method, path, status, headers, content))

    def _faults(self, method: str, path: str, status: int, headers: Mapping[str, str], content: bytes) -> Iterator[str]:
        yield from (f"{name} is missing" for name in ("X-Request-Id", *SECURITY_HEADERS) if name not in headers)
        if headers.get("Server", "gateway") != "gateway":
            yield "the Server header reveals the software"
        methods = next((methods for pattern, methods in self._patterns if pattern.fullmatch(path)), None)
        operation = (methods or {}).get("GET" if method == "HEAD" else method)
        if operation is None:
            expected = 405 if methods else 404
            if status not in (expected, 503):
                yield f"a path or method outside the document returns {status}, not {expected}"
            return
        if str(status) not in operation.definition["responses"]:
            yield f"status {status} is not documented"
            return
        response = self.resolve(operation.definition["responses"][str(status)])
        yield from _header_faults(operation, response, status, headers, content)
        if method != "HEAD":
            yield from self._content_faults(f"{operation.name} {status}", response, headers, content)

    def _content_faults(
        self, label: str, response: Mapping[str, Any], headers: Mapping[str, str], content: bytes
    ) -> Iterator[str]:
        kind = headers.get("Content-Type", "").partition(";")[0]
        if "content" not in response:
            if content:
                yield "it is documented without a body but has one"
        elif kind not in response["content"]:
            yield f"content type {kind!r} is not documented"
        elif "json" in kind:
            yield from self._body_faults(f"{label} {kind}", response["content"][kind], content)

    def _body_faults(self, label: str, definition: Mapping[str, Any], content: bytes) -> Iterator[str]:
        for error in self._validator(label, definition["schema"]).iter_errors(json.loads(content)):
            yield f"{'.'.join(str(part) for part in error.instance_path)}: {error.message}"[:300]

    def _validator(self, label: str, schema: Mapping[str, Any]) -> Any:
        if label not in self._validators:
            whole = {**schema, "components": self.raw["components"]}
            self._validators[label] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return self._validators[label]


def _header_faults(
    operation: Operation, response: Mapping[str, Any], status: int, headers: Mapping[str, str], content: bytes
) -> Iterator[str]:
    if status in (429, 503) and "Retry-After" not in headers:
        yield f"{status} without Retry-After"
    if status == 401 and not operation.is_public and b"invalid_token" in content and "WWW-Authenticate" not in headers:
        yield "401 without WWW-Authenticate"
    if status in (201, 202) and "Location" in response["headers"] and "Location" not in headers:
        yield f"{status} without Location"
