"""Access to other users' objects, for every operation of the OpenAPI document; a new operation with an id is included."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pytest

from services.contracts.identifiers import new_id
from tests.harness import leaks, samples
from tests.harness.api import PASSWORD, ApiClient, Person, Response
from tests.harness.document import Document, Operation

BASE = "/api/v1"
RECEIVERS = {("POST /api/v1/transfers", ("to", "wallet_id"))}
"""Here another user's id is valid: every user may be paid."""


@dataclass
class Belongings:
    """The objects of one user: ids by the path of their list, and by the name of the field that takes them."""

    by_list: dict[str, str] = field(default_factory=dict)
    by_name: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
async def document(api: ApiClient) -> Document:
    return await Document.of(api.session, api.base)


async def send(person: ApiClient, document: Document, operation: Operation, path: str, **changes: Any) -> Response:
    """A valid request; its response is also checked against the document."""
    headers = samples.headers(document, operation) | changes.pop("headers", {})
    if isinstance(person, Person):
        headers["Authorization"] = f"Bearer {person.token}"
    body = changes.pop("body", samples.body(document, operation))
    query = samples.query(document, operation) | changes.pop("query", {})
    return await person.send(operation.method, path.removeprefix(BASE), json=body, params=query, headers=headers)


def lists(document: Document) -> list[Operation]:
    """The operations for users that return items, at paths without ids."""
    return [
        operation
        for operation in document.operations
        if operation.method == "GET"
        and not (operation.is_public or operation.is_for_operators or operation.placeholders)
        and document.is_list(operation)
    ]


async def read_lists(person: Person, document: Document) -> dict[str, Any]:
    """The content of all lists of a user."""
    responses = {each.path: await send(person, document, each, each.path) for each in lists(document)}
    return {path: response.body["items"] for path, response in responses.items() if response.status == 200}


@pytest.fixture
async def belongings(document: Document, operator: Person, alice: Person, bob: Person) -> AsyncIterator[Belongings]:
    """Alice with one object of each kind; her lists must be unchanged at the end."""
    key = uuid4().hex
    transfer_id = (await alice.send_money(receiver := await _another_user(alice), 5, key=key)).body["id"]
    await alice.finalized(transfer_id)
    await alice.post("/api-keys", {"name": "till", "scopes": ["read"], "password": PASSWORD})
    async with asyncio.timeout(30):
        # Her deposit has a notification too, and it may come first.
        while all(item["transfer_id"] != transfer_id for item in (await alice.get("/notifications")).body["items"]):
            await asyncio.sleep(0.05)
    before = await read_lists(alice, document)
    belongings = Belongings(
        by_list={path: items[0]["id"] for path, items in before.items() if items},
        by_name={
            "wallet_id": alice.wallet_id,
            "from_wallet_id": alice.wallet_id,
            "user_id": alice.user_id,
            "transfer_id": transfer_id,
            "idempotency_key": key,
        },
        seen=before,
    )
    assert receiver.user_id != bob.user_id
    yield belongings
    assert before == await read_lists(alice, document)


async def _another_user(person: Person) -> Person:
    return await ApiClient(person.session, person.base).register("Friend Test")


async def _with_api_key(person: Person) -> Person:
    """The same user with an API key."""
    body = {"name": "server", "scopes": ["read", "transfer"], "password": PASSWORD}
    key = (await person.post("/api-keys", body)).body["key"]
    leaks.remember(key)
    return replace(person, token=key)


def same(response: Response, identifier: str) -> tuple[int, str]:
    """The response without the id of the request, for comparison."""
    document = response.body | {"request_id": ""} if isinstance(response.body, dict) else response.body
    return response.status, json.dumps(document).replace(identifier, "ID")


async def test_ids_in_paths(document: Document, belongings: Belongings, bob: Person) -> None:
    """Guarantee 46: for every path with an id, another user's object returns exactly what a missing one does."""
    missing, differences = [], []
    server = await _with_api_key(bob)
    for operation in document.operations:
        if not operation.placeholders or operation.is_for_operators or operation.is_public:
            continue
        collection = operation.path.partition("/{")[0]
        if collection not in belongings.by_list or len(operation.placeholders) != 1:
            missing.append(f"{operation.name}: let Alice have one of {collection}")
            continue
        for sender in (bob, server) if operation.definition["x-scope"] else (bob,):
            responses = []
            for identifier in (belongings.by_list[collection], str(new_id())):
                path = re.sub(r"{\w+}", identifier, operation.path)
                responses.append(same(await send(sender, document, operation, path), identifier))
            if responses[0] != responses[1] or responses[0][0] != 404:
                differences.append(f"{operation.name}: {responses}")

    assert [] == missing
    assert [] == differences


async def test_ids_in_bodies_and_parameters(document: Document, belongings: Belongings, bob: Person) -> None:
    """Guarantee 46: where a parameter or a field takes an id, another user's id has the effect of a missing one."""
    missing, differences = [], []
    for operation in document.operations:
        if operation.is_for_operators or operation.is_public or operation.placeholders:
            continue
        for where, path in _id_fields(document, operation):
            if (operation.name, path) in RECEIVERS:
                continue
            if path[-1] not in belongings.by_name:
                missing.append(f"{operation.name} {'.'.join(path)}: let Alice have one")
                continue
            responses = []
            for identifier in (belongings.by_name[path[-1]], str(new_id())):
                response = await send(
                    bob, document, operation, operation.path, **_with(document, operation, where, path, identifier)
                )
                responses.append(same(response, identifier))
                assert has_nothing_of_alice(response, belongings), operation.name
            if responses[0] != responses[1]:
                differences.append(f"{operation.name} {'.'.join(path)}: {responses}")

    assert [] == missing
    assert [] == differences


def _with(
    document: Document, operation: Operation, where: str, path: tuple[str, ...], identifier: str
) -> dict[str, Any]:
    if where == "query":
        return {"query": {path[0]: identifier}}
    body = samples.body(document, operation) or {}
    if "to" in body:
        body["to"] = {"wallet_id": str(new_id())}
    return {"body": samples.changed(body, path, identifier)}


def _id_fields(document: Document, operation: Operation) -> list[tuple[str, tuple[str, ...]]]:
    names: list[tuple[str, tuple[str, ...]]] = [
        ("query", (each["name"],)) for each in document.parameters(operation, "query")
    ]
    schema = document.body(operation)
    names += [("body", path) for path in samples.leaves(document, schema)] if schema is not None else []
    return [(where, path) for where, path in names if path[-1].endswith("_id") or path[-1] == "idempotency_key"]


def has_nothing_of_alice(response: Response, belongings: Belongings) -> bool:
    """Whether the response contains none of Alice's objects."""
    items = response.body.get("items", []) if isinstance(response.body, dict) else []
    return not {item.get("id") for item in items} & set(belongings.by_list.values())


async def test_lists_contain_own_objects_only(document: Document, belongings: Belongings, bob: Person) -> None:
    """Guarantee 46: no list contains objects of other users, also with a cursor from another user's list."""
    for operation in lists(document):
        takes_cursor = "cursor" in [parameter["name"] for parameter in document.parameters(operation, "query")]
        hers = [str(item["id"]) for item in belongings.seen.get(operation.path, ())]
        cursors = [*hers, "bm9uc2Vuc2U", "a"] if takes_cursor else []
        for query in ({}, *({"cursor": cursor} for cursor in cursors)):
            response = await send(bob, document, operation, operation.path, query=query)
            assert has_nothing_of_alice(response, belongings), operation.name
            if query.get("cursor") in ("bm9uc2Vuc2U", "a"):
                assert (422, ["cursor"]) == (response.status, response.fields), operation.name


async def test_identity_headers_are_ignored(
    document: Document, belongings: Belongings, alice: Person, bob: Person
) -> None:
    """Guarantee 47: with headers that claim to be Alice and an operator, Bob's responses are unchanged."""
    claims = {
        "X-User-Id": alice.user_id,
        "X-Role": "operator",
        "X-Forwarded-User": alice.email,
        "X-Forwarded-For": "10.0.0.1",
    }
    for operation in lists(document):
        plain = await send(bob, document, operation, operation.path)
        claimed = await send(bob, document, operation, operation.path, headers=claims)
        assert same(plain, "") == same(claimed, ""), operation.name
    for operation in document.operations:
        if operation.is_for_operators:
            path = re.sub(r"{\w+}", alice.wallet_id, operation.path)
            assert 403 == (await send(bob, document, operation, path, headers=claims)).status
