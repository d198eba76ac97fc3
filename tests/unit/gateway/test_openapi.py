"""The OpenAPI document."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from services.chassis.finality import MomentNotFinal
from services.contracts.api_keys import Scope
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import TransferNotCancellable
from services.contracts.refusals.wallet import WalletNotFound
from services.gateway import api, openapi, operations, schemas
from services.gateway.api import OPERATIONS
from services.gateway.errors import RecipientNotFound
from services.gateway.operations import Access, Operation
from tests.harness.collection import import_late

ROWS = (*OPERATIONS, *api.reference.HEALTH)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.build(ROWS)


def draft() -> Any:
    """The validator of the schemas in an OpenAPI 3.1 document."""
    return import_late("jsonschema").Draft202012Validator


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    found: Any = document
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_document_is_valid(document: dict[str, Any]) -> None:
    """It is OpenAPI 3.1, and every schema is JSON Schema."""
    import_late("openapi_spec_validator").validate(document)
    for name, schema in document["components"]["schemas"].items():
        assert re.fullmatch(r"[A-Za-z]+", name)
        draft().check_schema(schema)


def test_every_reference_resolves(document: dict[str, Any]) -> None:
    """Every `$ref` resolves."""
    for reference in re.findall(r"'\$ref': '([^']+)'", str(document)):
        assert _resolve(document, {"$ref": reference})


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    """Clients are generated from them."""
    ids = [operation["operationId"] for _, _, operation in _operations(document)]
    assert len(ids) == len(set(ids))


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    """Every operation has a summary that is a sentence, and a description of each response."""
    for method, path, operation in _operations(document):
        assert operation["summary"][-1] in ".?", (method, path)
        for status, response in operation["responses"].items():
            assert _resolve(document, response)["description"], (method, path, status)


def test_schemas_are_closed(document: dict[str, Any]) -> None:
    """Every object schema is closed and lists all its fields."""
    for name, schema in document["components"]["schemas"].items():
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False, name


def test_access_is_documented(document: dict[str, Any]) -> None:
    """Operations with a token document 401, those of operators 403, public ones neither."""
    for row in OPERATIONS:
        operation = document["paths"][row.path][row.method.lower()]
        codes = {refusal.code for refusal in openapi.refusals(row)}
        assert bool(operation["security"]) is (row.access is not Access.PUBLIC)
        assert ("invalid_token" in codes) is (row.access is not Access.PUBLIC)
        assert "operator_required" in codes or row.access is not Access.OPERATOR
        assert (row.access is Access.OPERATOR) is row.path.startswith(f"{operations.BASE}/ops/")


def test_scopes_are_documented(document: dict[str, Any]) -> None:
    """Reading requires `read`, moving money and cancelling `transfer`, operator paths `operate`; others accept no API keys."""
    for row in OPERATIONS:
        operation = document["paths"][row.path][row.method.lower()]
        of_users = row.path.startswith(("/api/v1/auth/", "/api/v1/api-keys"))
        names = {_resolve(document, parameter)["name"] for parameter in operation["parameters"]}
        if row.access is Access.PUBLIC or of_users:
            expected = None
        elif row.path.startswith("/api/v1/ops/"):
            expected = "operate"
        elif row.method == "GET":
            expected = "read"
        else:
            expected = "transfer" if "Idempotency-Key" in names or row.path.endswith("/cancel") else None
        codes = {refusal.code for refusal in openapi.refusals(row)}
        schemes = [scheme for each in operation["security"] for scheme in each.items()]
        assert operation.get("x-scope") == expected, row.path
        assert (("api_key", [expected]) in schemes) is (expected is not None)
        assert ("insufficient_scope" in codes) is (expected is not None)
        assert ("session_required" in codes) is (expected is None and row.access is not Access.PUBLIC)


def test_api_keys_are_refused_by_default() -> None:
    """A row without `key_scope` accepts no API keys; account and key endpoints never do, whatever the row says."""
    own = Operation("GET", f"{operations.BASE}/new", None, ())
    of_users = [f"{operations.BASE}/auth/new", f"{operations.BASE}/api-keys", f"{operations.BASE}/api-keys/{{id}}"]

    assert (None, False) == (own.scope, own.states_key_access)
    assert Scope.READ is replace(own, key_scope=Scope.READ).scope
    for path in of_users:
        assert replace(own, path=path, key_scope=Scope.READ).scope is None, path
    assert replace(own, access=Access.PUBLIC, key_scope=Scope.READ).scope is None


def test_moving_money_requires_an_idempotency_key(document: dict[str, Any]) -> None:
    """Both operations that move money take the key and list its refusals."""
    for path in ("/api/v1/transfers", "/api/v1/ops/deposits"):
        operation = document["paths"][path]["post"]
        names = {_resolve(document, parameter)["name"] for parameter in operation["parameters"]}
        assert {"Idempotency-Key", "Prefer"} == names
        assert {"200", "202", "400", "401", "409", "413", "415", "422", "429", "500", "503", "504"} <= set(
            operation["responses"]
        )


def test_paths_with_ids_document_404(document: dict[str, Any]) -> None:
    """Every path with an id documents 404."""
    for _, path, operation in _operations(document):
        if "{id}" in path:
            assert "404" in operation["responses"], path


def test_catalogue_is_complete(document: dict[str, Any]) -> None:
    """Every code of an operation is in the catalogue once, with its status and whether a retry helps."""
    catalogue = {(entry["code"], entry["status"]): entry for entry in document["x-problem-catalogue"]}
    listed = {(refusal.code, refusal.status) for row in ROWS for refusal in openapi.refusals(row)}

    assert listed <= set(catalogue)
    assert len(catalogue) == len(document["x-problem-catalogue"])
    assert catalogue["outcome_unknown", 504]["retry_helps"] is True
    assert catalogue["insufficient_funds", 422]["retry_helps"] is False


NEVER_OUTSIDE = {
    "service_token_required", "service_not_allowed", "token_clock_skew", "outcome_not_found", "recording_contended", "refused",
}  # fmt: skip
"""Codes used between services only."""

CHASSIS = ("body", "client", "database", "finality", "problems", "server", "watchdog")
"""Modules of the chassis with refusals that pass through the gateway."""


@pytest.mark.parametrize("package", ["contracts.refusals", "chassis"])
def test_upstream_codes_are_in_the_catalogue(document: dict[str, Any], package: str) -> None:
    """The catalogue lists every code that an upstream service may return, with its status and whether a retry helps."""
    for module in ("auth", "wallet", "transaction", "notification") if package == "contracts.refusals" else CHASSIS:
        importlib.import_module(f"services.{package}.{module}")
    catalogue = {(entry["code"], entry["status"]): entry["retry_helps"] for entry in document["x-problem-catalogue"]}
    for refusal in _refusals(Refusal):
        if refusal.__module__.startswith(f"services.{package}.") and refusal.code not in NEVER_OUTSIDE:
            assert catalogue.get((refusal.code, refusal.status)) is refusal.retry_helps, refusal


def _refusals(parent: type[Refusal]) -> set[type[Refusal]]:
    return {parent}.union(*(_refusals(child) for child in parent.__subclasses__())) - {Refusal}


def test_problems_fit_their_schema(document: dict[str, Any]) -> None:
    """Rendered problems match the documented schema, including extra members."""
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    for refusal in (WalletNotFound(), RecipientNotFound()):
        draft()(schema).validate(refusal.problem() | {"request_id": "x"})
    moment = {"$ref": "#/components/schemas/MomentProblem", "components": document["components"]}
    draft()(moment).validate(MomentNotFinal(datetime.now(UTC)).problem() | {"request_id": "x"})
    assert "final_before" in document["components"]["schemas"]["MomentProblem"]["required"]
    extended = {"$ref": "#/components/schemas/CancelProblem", "components": document["components"]}
    draft()(extended).validate(TransferNotCancellable(extra={"transfer": None}).problem() | {"request_id": "x"})


def test_query_parameters_are_plain(document: dict[str, Any]) -> None:
    """Parameters have a plain type and bounds, without null: a query cannot send it."""
    parameters = {
        parameter["name"]: parameter
        for parameter in document["paths"]["/api/v1/transfers"]["get"]["parameters"]
        if parameter.get("in") == "query"
    }
    assert set(schemas.transfers.TransferQuery.model_fields) - {"from_"} | {"from"} == set(parameters)
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200}
    assert parameters["from"]["schema"] == {"type": "string", "format": "date-time"}
    assert "null" not in str(parameters)


def test_operations_are_unique() -> None:
    """Method and path are unique, and every row documents a response."""
    routes = [(row.method, row.path) for row in ROWS]
    assert len(routes) == len(set(routes))
    assert all(isinstance(row, Operation) and row.responses for row in ROWS)
