"""The OpenAPI 3.1 document, generated from the rows of `operations` and the models of `schemas`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.chassis.finality import MomentNotFinal
from services.contracts import limits
from services.contracts.refusal import Refusal
from services.gateway import errors, examples, operations, schemas
from services.gateway.operations import Access, Operation, Response

VERSION = "1.0.0"

_SCHEMA = "#/components/schemas/{model}"
_PROBLEM_MODELS: dict[type[Refusal], type[BaseModel]] = {
    errors.TransferNotCancellable: schemas.transfers.CancelProblem,
    MomentNotFinal: schemas.system.MomentProblem,
}

_DESCRIPTION = """\
Wallets and transfers. Money is an integer in the currency's minor unit plus an ISO 4217 code: `1050` with `USD` is $10.50.
Ids are UUIDs, times are RFC 3339 in UTC with microseconds. Lists are paginated: pass `next_cursor` as `cursor` until it is null.
A request that moves money requires an `Idempotency-Key`; repeated with the same key and body, it returns the first response.
Every response has `X-Request-Id`. Errors are problem documents (RFC 9457); `x-problem-catalogue` lists every code.
Fields may be added to responses; existing fields keep their meaning.
"""

_HEADERS = {
    "X-Request-Id": (
        "The id of the request: the client's own if it sent a valid one, else a new one.",
        {"type": "string"},
    ),
    "Location": ("The path of the new resource.", {"type": "string"}),
    "Set-Cookie": ("Sets or removes the refresh token of a browser.", {"type": "string"}),
    "ETag": ("A strong validator of the body.", {"type": "string"}),
    "Idempotent-Replayed": (
        "Present if this repeats the response to an earlier request.",
        {"type": "string", "const": "true"},
    ),
    "Preference-Applied": ("The preferred wait that was applied.", {"type": "string"}),
    "Link": ('The next page of the file (`rel="next"`), if there is one.', {"type": "string"}),
    "Retry-After": ("Seconds to wait before the next attempt.", {"type": "integer"}),
    "RateLimit": ("The remaining quota and the seconds until it resets.", {"type": "string"}),
    "RateLimit-Policy": ("The rate limit: requests per window in seconds.", {"type": "string"}),
    "Upgrade": ("The HTTP version that the request requires.", {"type": "string"}),
    "WWW-Authenticate": ("The required authentication scheme.", {"type": "string"}),
}

_PARAMETERS = {
    "Idempotency-Key": {
        "required": True,
        "description": "Chosen by the client, unique per payment; repeat it with every retry.",
        "schema": {"type": "string", "pattern": rf"^[\x21-\x7e]{{1,{limits.IDEMPOTENCY_KEY_LENGTH_MAX}}}$"},
    },
    "Prefer": {
        "required": False,
        "description": "`wait=N`: respond when the transfer has its outcome, after at most N "
        f"(≤ {limits.PREFER_WAIT_SECONDS_MAX}) seconds.",
        "schema": {"type": "string"},
        "example": "wait=5",
    },
    "Last-Event-ID": {
        "required": False,
        "description": "The id of the last event that the client has; the stream continues after it.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
    },
    "If-None-Match": {
        "required": False,
        "description": "The ETag of the version that the client has.",
        "schema": {"type": "string"},
    },
}

_TAGS = {
    "auth": ("Accounts and sessions", "Register, log in, change a password, end sessions, use a second factor."),
    "wallets": ("Wallets", "Balances and statements. A user has one wallet per currency."),
    "recipients": ("Recipients", "Check who would receive a transfer before it is sent."),
    "transfers": ("Transfers", "Send money, follow a transfer, cancel it."),
    "notifications": ("Notifications", "Messages about completed and failed transfers."),
    "events": ("Live events", "The same updates as a stream."),
    "currencies": ("Currencies", "The currencies of ISO 4217 and their minor units."),
    "api-keys": ("API keys", "Keys for servers that act for a user, limited to scopes."),
    "ops": ("Operations", "For users with the role `operator`: queues, audit log, dead letters, ledger proof, users."),
    "system": ("System", "Health, public signing keys and this document."),
}
"""The groups of operations by the first part of their path, in the order in which a newcomer needs them."""

_SECURITY_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The access token of a session. It has all permissions of its user.",
    },
    "api_key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "pfk_…",
        "description": "An API key, for servers. An operation requires the scope in `x-scope`; if that is null, API keys are not "
        "accepted.",
    },
}

_HEADERS_BY_STATUS = {
    401: ("WWW-Authenticate",),
    426: ("Upgrade",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}
_HEADERS_BY_PROBLEM: dict[type[Refusal], tuple[str, ...]] = {MomentNotFinal: ("Retry-After",)}


def build(rows: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    paths: dict[str, dict[str, Any]] = {}
    problems: dict[str, Any] = {}
    models = _schemas(rows)
    for row in sorted(rows, key=lambda row: list(_TAGS).index(_tag(row.path))):
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, problems, models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "PayFlow",
            "version": VERSION,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.values()],
        "paths": paths,
        "components": {
            "schemas": models,
            "responses": dict(sorted(problems.items())),
            "headers": {
                name: {"description": description, "schema": schema} for name, (description, schema) in _HEADERS.items()
            },
            "parameters": {
                name: {"name": name, "in": "header", **parameter} for name, parameter in _PARAMETERS.items()
            },
            "securitySchemes": _SECURITY_SCHEMES,
        },
        "x-problem-catalogue": catalogue(rows),
    }


def catalogue(rows: Iterable[Operation]) -> list[dict[str, Any]]:
    """Every problem code: its status, its meaning, and whether a retry helps."""
    found = set(errors.BEFORE_ANY).union(*(refusals(row) for row in rows))
    entries = {
        (refusal.code, refusal.status): {
            "code": refusal.code,
            "status": refusal.status,
            "title": refusal.title(),
            "retry_helps": refusal.retry_helps,
        }
        for refusal in found
    }
    return [entries[key] for key in sorted(entries)]


def refusals(row: Operation) -> set[type[Refusal]]:
    """All refusals of this operation."""
    found: set[type[Refusal]] = {*errors.ANYWHERE, errors.RateLimited, *row.refusals}
    if row.handler is None:
        return set()
    if row.access is not Access.PUBLIC:
        found.update(errors.ON_TOKEN)
        found.update(errors.ON_KEY_CALLER if row.scope is not None else (errors.SessionRequired,))
    if row.access is Access.OPERATOR:
        found.add(errors.OperatorRequired)
    if row.body is not None:
        found.update(errors.ON_BODY)
    if not row.query_free:
        found.update(errors.ON_QUERY)
    if row.calls_upstream:
        found.update(errors.ON_UPSTREAM)
    return found


def _operation(row: Operation, problems: dict[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    text = inspect.getdoc(row.handler) if row.handler is not None else row.summary
    summary, _, description = (text or "").partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": _operation_id(row),
        "summary": " ".join(summary.split()),
        "tags": [_TAGS[_tag(row.path)][0]],
        "parameters": [*_path_parameters(row), *_query_parameters(row), *_header_parameters(row)],
        "responses": _responses(row, problems, models),
        "security": _security(row),
    }
    if row.access is not Access.PUBLIC and row.states_key_access:
        operation["x-scope"] = str(row.scope) if row.scope is not None else None
    if description:
        operation["description"] = " ".join(description.split())
    if row.body is not None:
        operation["requestBody"] = {
            "required": row.body_required,
            "content": {"application/json": _with_example(row.body, models)},
        }
    return operation


def _security(row: Operation) -> list[dict[str, list[str]]]:
    if row.access is Access.PUBLIC:
        return []
    return [{"bearer": []}, *([{"api_key": [str(row.scope)]}] if row.scope is not None else [])]


def _responses(row: Operation, problems: dict[str, Any], models: Mapping[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for success in row.responses:
        response = responses.setdefault(str(success.status), _response(success.description, success.headers))
        response["headers"] |= _header_references(success.headers)
        content = _content(success, models)
        if content is not None:
            response.setdefault("content", {})[success.media_type] = content
    by_status: dict[int, list[type[Refusal]]] = {}
    for refusal in sorted(refusals(row), key=lambda refusal: (refusal.status, refusal.code)):
        by_status.setdefault(refusal.status, []).append(refusal)
    for status, refused in by_status.items():
        # Many operations share the same problems: each such response is defined once, named after its codes.
        name = ".".join(dict.fromkeys(refusal.code for refusal in refused))
        problems[f"{status}.{name}"] = _problem(status, refused)
        responses[str(status)] = {"$ref": f"#/components/responses/{status}.{name}"}
    return dict(sorted(responses.items()))


def _content(response: Response, models: Mapping[str, Any]) -> dict[str, Any] | None:
    if response.model is not None:
        return _with_example(response.model, models)
    if response.status in (204, 304):
        return None
    if response.events:
        # OpenAPI 3.1 cannot describe the events of a stream: list each type with the schema of its data.
        return {"schema": {"type": "string"}, "x-events": {name: _reference(m) for name, m in response.events.items()}}
    return {"schema": {"type": "object" if response.media_type == "application/json" else "string"}}


def _problem(status: int, refused: Sequence[type[Refusal]]) -> dict[str, Any]:
    titles = {refusal.code: refusal.title() for refusal in refused}
    model = next(
        (_PROBLEM_MODELS[refusal] for refusal in refused if refusal in _PROBLEM_MODELS), schemas.system.Problem
    )
    narrowed = {"properties": {"code": {"enum": list(titles)}, "status": {"const": status}}}
    headers = dict.fromkeys(_HEADERS_BY_STATUS.get(status, ()))
    headers |= {name: None for refusal in refused for name in _HEADERS_BY_PROBLEM.get(refusal, ())}
    return {
        **_response("\n".join(f"- `{code}`: {title}" for code, title in titles.items()), headers),
        "content": {"application/problem+json": {"schema": {"allOf": [_reference(model), narrowed]}}},
    }


def _response(description: str, headers: Iterable[str]) -> dict[str, Any]:
    return {"description": description, "headers": _header_references(["X-Request-Id", *headers])}


def _header_references(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _path_parameters(row: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
        for name in re.findall(r"{(\w+)}", row.path)
    ]


def _query_parameters(row: Operation) -> list[dict[str, Any]]:
    if row.query is None:
        return []
    model = row.query.model_json_schema(by_alias=True)
    required = model.get("required", ())
    return [_query_parameter(name, schema, name in required) for name, schema in model["properties"].items()]


def _query_parameter(name: str, schema: dict[str, Any], required: bool) -> dict[str, Any]:
    # A parameter is either present or absent: the "null" of the model is its absence.
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "title", "description", "default")}
    for choice in schema.get("anyOf", ()):
        if choice != {"type": "null"}:
            kept |= choice
    parameter = {"name": name, "in": "query", "required": required, "schema": kept}
    return parameter | ({"description": schema["description"]} if "description" in schema else {})


def _header_parameters(row: Operation) -> list[dict[str, Any]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in row.headers]


def _schemas(rows: Iterable[Operation]) -> dict[str, Any]:
    models: dict[type[BaseModel], None] = dict.fromkeys((schemas.system.Problem, *_PROBLEM_MODELS.values()))
    for row in rows:
        for response in row.responses:
            models |= dict.fromkeys(response.events.values())
            models |= {response.model: None} if response.model is not None else {}
        models |= {row.body: None} if row.body is not None else {}
    _, document = models_json_schema([(model, "validation") for model in models], ref_template=_SCHEMA)
    return dict(sorted(document["$defs"].items()))


def _with_example(model: type[BaseModel], models: Mapping[str, Any]) -> dict[str, Any]:
    return {"schema": _reference(model), "example": examples.example(model.__name__, models)}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _SCHEMA.format(model=model.__name__)}


def _tag(path: str) -> str:
    first = path.removeprefix(f"{operations.BASE}/").partition("/")[0]
    return first if first in _TAGS else "system"


def _operation_id(row: Operation) -> str:
    name = row.handler.__name__ if row.handler is not None else row.path.strip("/")
    return f"ops_{name}" if row.access is Access.OPERATOR else name
