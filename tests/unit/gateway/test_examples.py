"""The examples of the OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.gateway import api, openapi
from services.gateway.api import OPERATIONS
from services.gateway.operations import Operation
from tests.harness.collection import import_late

ROWS = (*OPERATIONS, *api.reference.HEALTH)
DOCUMENT = openapi.build(ROWS)

by_operation = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")


def described(row: Operation) -> dict[str, Any]:
    return DOCUMENT["paths"][row.path][row.method.lower()]


def faults(content: dict[str, Any]) -> list[str]:
    """What the schema of a content says against its example."""
    schema = content["schema"] | {"components": DOCUMENT["components"]}
    draft = import_late("jsonschema").Draft202012Validator
    validator = draft(schema, format_checker=draft.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(content["example"])]


@by_operation
def test_example_request_is_accepted(row: Operation) -> None:
    """An operation with a body shows an example that the schema and the model itself accept."""
    if row.body is None:
        assert "requestBody" not in described(row)
        return
    content = described(row)["requestBody"]["content"]["application/json"]

    assert [] == faults(content)
    row.body.model_validate_json(json.dumps(content["example"]))


@by_operation
def test_example_response_fits_its_schema(row: Operation) -> None:
    """Each success with a schema of its own shows an example that fits."""
    expected = {(str(response.status), response.media_type) for response in row.responses if response.model is not None}
    shown = {
        (status, media_type): content
        for status, response in described(row)["responses"].items()
        for media_type, content in response.get("content", {}).items()
        if "example" in content
    }

    assert expected == set(shown)
    assert [] == [fault for content in shown.values() for fault in faults(content)]
