"""Example values for the schemas of the OpenAPI document.

An example is written from the schema itself: each property by its name, then by its type. So a new schema has an example
without further work, and the tests validate every example against its schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
Schemas = Mapping[str, Schema]

_ID = "0199c4c2-7d0e-7b3a-9f41-6c2a58d1e0b7"
_AT = "2026-03-02T09:30:00.125000Z"

_BY_NAME: Mapping[str, Any] = {
    "access_token": "eyJhbGciOiJFZERTQSIsImtpZCI6IjIwMjYtMDMifQ.eyJzdWIiOiIwMTk5In0.c2lnbmF0dXJl",
    "action": "login_succeeded",
    "actor_id": _ID,
    "amount": 1050,
    "as_of": _AT,
    "available": 98950,
    "balance": 98950,
    "balance_after": 98950,
    "code": "123456",
    "completed_at": "2026-03-02T09:30:00.184000Z",
    "confirmed_at": _AT,
    "currency": "USD",
    "current_password": "correct horse battery",
    "customers": 200000,
    "detail": None,
    "description": "Lunch",
    "drain_per_s": 412.5,
    "email": "bob@example.com",
    "expected_by": "2026-03-02T09:30:02.125000Z",
    "expires_in": 600,
    "exponent": 2,
    "external": -200000,
    "failed_at": None,
    "failure": None,
    "final_by": "2026-03-02T09:31:30.125000Z",
    "from_wallet_id": "0199c4c2-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "held": 0,
    "key": "pfk_0aB1cD2eF3gH_k3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yK3yX1y2Z3",
    "kid": "2026-03",
    "lag_seconds": 0.0,
    "message": "must be a positive integer",
    "messages": 0,
    "metadata": {"order": "A-1001"},
    "name": "Bob Example",
    "new_password": "a different long password",
    "next_cursor": None,
    "number": 1204,
    "oldest_seconds": 0.0,
    "password": "correct horse battery",
    "prefix": "pfk_0aB1cD2eF3gH",
    "processing": "normal",
    "published": "2026-01-01",
    "queue": "transfers.requested",
    "reason": "Requested by the customer",
    "recovery_codes": ["abcd-efgh-ijkl", "mnop-qrst-uvwx"],
    "reference": "bank transfer 2026-03-02",
    "refresh_token": "rZ0pQ4vX8sT2wY6uA1bC3dE5fG7hJ9kL",
    "request_id": "0199c4c2-7d0e-7b3a-9f41-000000000001",
    "secret": "JBSWY3DPEHPK3PXP",
    "seconds_of_work": 0.0,
    "seq": 12,
    "service": "transaction",
    "step": "accepted",
    "sum": 0,
    "summary": "The transfer is complete. The money has arrived.",
    "title": "You sent $10.50",
    "to_wallet_id": "0199c4c2-2b3c-7d4e-8f5a-6b7c8d9e0f1a",
    "token": "vT5kq0Q9yJ3mN7xR2bW8",
    "totp": None,
    "transfer_id": _ID,
    "unavailable": [],
    "uri": "otpauth://totp/PayFlow:bob%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=PayFlow",
    "used_at": _AT,
    "user_agent": "Mozilla/5.0",
    "waiting_for": None,
    "wallet_id": "0199c4c2-2b3c-7d4e-8f5a-6b7c8d9e0f1a",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
"""By the name of the property, wherever its schema allows the value."""

_BY_MODEL: Mapping[str, Mapping[str, Any]] = {
    "Currency": {"code": "USD", "name": "US Dollar"},
    "Failure": {"code": "insufficient_funds", "message": "The wallet does not hold that much."},
    "NewTransfer": {"from_wallet_id": None},
    "Notification": {"body": "Bob Example received $10.50.", "read_at": None},
    "NewProofRun": {"head": None},
    "Recipient": {"wallet_id": None},
    "Transfer": {"status": "PENDING", "completed_at": None},
    "User": {"totp": False},
}
"""Where one model needs another value than the others."""

_BY_FORMAT = {"uuid": _ID, "date-time": _AT, "date": "2026-03-02", "email": "bob@example.com"}


def example(name: str, schemas: Schemas) -> Any:
    """An example of the schema `name`."""
    return _object(name, schemas[name], schemas)


def _object(name: str, schema: Schema, schemas: Schemas) -> dict[str, Any]:
    wanted = _BY_MODEL.get(name, {})
    properties: Mapping[str, Schema] = schema.get("properties", {})
    required = schema.get("required", ())
    made = {
        field: wanted[field] if field in wanted else _value(field, about, schemas)
        for field, about in properties.items()
    }
    # An optional field of a request is shown only where there is something to show.
    return {field: value for field, value in made.items() if field in required or value is not None}


def _value(field: str, schema: Schema, schemas: Schemas) -> Any:
    if "$ref" in schema:
        return example(schema["$ref"].rpartition("/")[2], schemas)
    for choice in schema.get("allOf", ()):
        return _value(field, choice, schemas)
    choices = schema.get("anyOf", (schema,))
    if field in _BY_NAME and any(_fits(_BY_NAME[field], choice) for choice in choices):
        return _BY_NAME[field]
    return _by_type(field, choices[0], schemas)


def _fits(value: Any, schema: Schema) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema or "$ref" in schema:
        return False
    types = {
        "null": value is None,
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }
    return types.get(schema.get("type", ""), False)


def _by_type(field: str, schema: Schema, schemas: Schemas) -> Any:
    if "$ref" in schema:
        return example(schema["$ref"].rpartition("/")[2], schemas)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_value(field, schema["items"], schemas)]
    if schema.get("format") in _BY_FORMAT:
        return _BY_FORMAT[schema["format"]]
    simple = {"integer": schema.get("minimum", 1), "number": 1.5, "boolean": True, "null": None, "object": {}}
    return simple.get(schema.get("type", ""), "text")
