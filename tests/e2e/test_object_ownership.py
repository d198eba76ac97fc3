"""Whose objects are whose, at every address of the OpenAPI document: a new one with an id is tested on the day it is added."""

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
"""Here another's id is meant: anybody may be paid."""


@dataclass
class Belongings:
    """What one person has: ids by the address of their list, and by the name of the field that takes them."""

    by_list: dict[str, str] = field(default_factory=dict)
    by_name: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
async def document(api: ApiClient) -> Document:
    return await Document.of(api.session, api.base)


async def ask(person: ApiClient, document: Document, operation: Operation, path: str, **changes: Any) -> Response:
    """A request that fits the document; its response is checked by it too."""
    headers = samples.headers(document, operation) | changes.pop("headers", {})
    if isinstance(person, Person):
        headers["Authorization"] = f"Bearer {person.token}"
    body = changes.pop("body", samples.body(document, operation))
    query = samples.query(document, operation) | changes.pop("query", {})
    return await person.send(operation.method, path.removeprefix(BASE), json=body, params=query, headers=headers)


def lists(document: Document) -> list[Operation]:
    """The operations of users that response with items, at addresses without ids."""
    return [
        operation
        for operation in document.operations
        if operation.method == "GET"
        and not (operation.is_public or operation.is_for_operators or operation.placeholders)
        and document.is_list(operation)
    ]


async def look(person: Person, document: Document) -> dict[str, Any]:
    """Everything that a person's lists show."""
    responses = {each.path: await ask(person, document, each, each.path) for each in lists(document)}
    return {path: response.body["items"] for path, response in responses.items() if response.status == 200}


@pytest.fixture
async def belongings(document: Document, operator: Person, alice: Person, bob: Person) -> AsyncIterator[Belongings]:
    """Alice has one of everything; what her lists show is the same in the end."""
    key = uuid4().hex
    transfer_id = (await alice.send_money(alice_friend := await _friend(alice), 5, key=key)).body["id"]
    await alice.finalized(transfer_id)
    await alice.post("/api-keys", {"name": "till", "scopes": ["read"], "password": PASSWORD})
    async with asyncio.timeout(30):
        while not (await alice.get("/notifications")).body["items"]:
            await asyncio.sleep(0.05)
    shown = await look(alice, document)
    mine = Belongings(
        by_list={path: items[0]["id"] for path, items in shown.items() if items},
        by_name={
            "wallet_id": alice.wallet_id,
            "from_wallet_id": alice.wallet_id,
            "user_id": alice.user_id,
            "transfer_id": transfer_id,
            "idempotency_key": key,
        },
        seen=shown,
    )
    assert alice_friend.user_id != bob.user_id
    yield mine
    assert shown == await look(alice, document)


async def _friend(person: Person) -> Person:
    return await ApiClient(person.session, person.base).register("Friend Test")


async def _server_of(person: Person) -> Person:
    """The same person, asking with an API key."""
    asked = {"name": "server", "scopes": ["read", "transfer"], "password": PASSWORD}
    key = (await person.post("/api-keys", asked)).body["key"]
    leaks.remember(key)
    return replace(person, token=key)


def same(response: Response, identifier: str) -> tuple[int, str]:
    """What can be told from an response, whatever the id was that was asked for."""
    document = response.body | {"request_id": ""} if isinstance(response.body, dict) else response.body
    return response.status, json.dumps(document).replace(identifier, "ID")


async def test_ids_in_paths(document: Document, belongings: Belongings, bob: Person) -> None:
    """Guarantee 46: at every address with an id, another's object responses exactly as one that does not exist."""
    unfed, told = [], []
    server = await _server_of(bob)
    for operation in document.operations:
        if not operation.placeholders or operation.is_for_operators or operation.is_public:
            continue
        collection = operation.path.partition("/{")[0]
        if collection not in belongings.by_list or len(operation.placeholders) != 1:
            unfed.append(f"{operation.name}: let Alice have one of {collection}")
            continue
        for who in (bob, server) if operation.definition["x-scope"] else (bob,):
            responses = []
            for identifier in (belongings.by_list[collection], str(new_id())):
                path = re.sub(r"{\w+}", identifier, operation.path)
                responses.append(same(await ask(who, document, operation, path), identifier))
            if responses[0] != responses[1] or responses[0][0] != 404:
                told.append(f"{operation.name}: {responses}")

    assert [] == unfed
    assert [] == told


async def test_ids_in_bodies_and_parameters(document: Document, belongings: Belongings, bob: Person) -> None:
    """Guarantee 46: where a parameter or a field takes an id, another's does no more than one that does not exist."""
    unfed, told = [], []
    for operation in document.operations:
        if operation.is_for_operators or operation.is_public or operation.placeholders:
            continue
        for where, path in _takes_ids(document, operation):
            if (operation.name, path) in RECEIVERS:
                continue
            if path[-1] not in belongings.by_name:
                unfed.append(f"{operation.name} {'.'.join(path)}: let Alice have one")
                continue
            responses = []
            for identifier in (belongings.by_name[path[-1]], str(new_id())):
                response = await ask(
                    bob, document, operation, operation.path, **_with(document, operation, where, path, identifier)
                )
                responses.append(same(response, identifier))
                assert alice_is_not_in(response, belongings), operation.name
            if responses[0] != responses[1]:
                told.append(f"{operation.name} {'.'.join(path)}: {responses}")

    assert [] == unfed
    assert [] == told


def _with(
    document: Document, operation: Operation, where: str, path: tuple[str, ...], identifier: str
) -> dict[str, Any]:
    if where == "query":
        return {"query": {path[0]: identifier}}
    body = samples.body(document, operation) or {}
    if "to" in body:
        body["to"] = {"wallet_id": str(new_id())}
    return {"body": samples.changed(body, path, identifier)}


def _takes_ids(document: Document, operation: Operation) -> list[tuple[str, tuple[str, ...]]]:
    names: list[tuple[str, tuple[str, ...]]] = [
        ("query", (each["name"],)) for each in document.parameters(operation, "query")
    ]
    schema = document.body(operation)
    names += [("body", path) for path in samples.leaves(document, schema)] if schema is not None else []
    return [(where, path) for where, path in names if path[-1].endswith("_id") or path[-1] == "idempotency_key"]


def alice_is_not_in(response: Response, belongings: Belongings) -> bool:
    """Whether nothing of hers that another could learn stands in the response."""
    items = response.body.get("items", []) if isinstance(response.body, dict) else []
    return not {item.get("id") for item in items} & set(belongings.by_list.values())


async def test_lists_show_ones_own(document: Document, belongings: Belongings, bob: Person) -> None:
    """Guarantee 46: no list shows anything of another, also when it is asked to go on where another's list went on."""
    for operation in lists(document):
        takes_cursor = "cursor" in [parameter["name"] for parameter in document.parameters(operation, "query")]
        hers = [str(item["id"]) for item in belongings.seen.get(operation.path, ())]
        cursors = [*hers, "bm9uc2Vuc2U", "a"] if takes_cursor else []
        for query in ({}, *({"cursor": cursor} for cursor in cursors)):
            response = await ask(bob, document, operation, operation.path, query=query)
            assert alice_is_not_in(response, belongings), operation.name
            if query.get("cursor") in ("bm9uc2Vuc2U", "a"):
                assert (422, ["cursor"]) == (response.status, response.fields), operation.name


async def test_claims_from_outside_change_nothing(
    document: Document, belongings: Belongings, alice: Person, bob: Person
) -> None:
    """Guarantee 47: with headers that claim to be Alice and an operator, Bob sees what Bob sees and no more."""
    lies = {
        "X-User-Id": alice.user_id,
        "X-Role": "operator",
        "X-Forwarded-User": alice.email,
        "X-Forwarded-For": "10.0.0.1",
    }
    for operation in lists(document):
        plain = await ask(bob, document, operation, operation.path)
        lying = await ask(bob, document, operation, operation.path, headers=lies)
        assert same(plain, "") == same(lying, ""), operation.name
    for operation in document.operations:
        if operation.is_for_operators:
            path = re.sub(r"{\w+}", alice.wallet_id, operation.path)
            assert 403 == (await ask(bob, document, operation, path, headers=lies)).status
