"""Idempotency keys, request hashes and fingerprints."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from services.gateway.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing
from services.gateway.idempotency import KeyedRequest, hash_request, read_key

ROUTE = "/api/v1/transfers"


def _headers(*keys: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(("Idempotency-Key", key) for key in keys))


@pytest.mark.parametrize("key", ["a", "x" * 255, "!", "~", 'a,b;c="d"', "0"])
def test_visible_key_is_taken_as_sent(key: str) -> None:
    """1 to 255 visible ASCII characters are a key and are kept unchanged."""
    assert key == read_key(_headers(key))


@pytest.mark.parametrize("key", ["", " ", "a b", " a", "a\n", "x" * 256, "é", "\x7f", "\x00", "a\u200b", "٣"])
def test_other_key_is_refused(key: str) -> None:
    """Any other text is refused."""
    with pytest.raises(IdempotencyKeyInvalid):
        read_key(_headers(key))


def test_key_must_be_sent_once() -> None:
    """No key is missing; two keys are invalid, even if they are equal."""
    with pytest.raises(IdempotencyKeyMissing):
        read_key(_headers())
    with pytest.raises(IdempotencyKeyInvalid):
        read_key(_headers("a", "a"))


def test_hash_is_reproducible() -> None:
    """SHA-256 of method, route and canonical JSON, so that another gateway or version computes the same."""
    sent = {"to": {"email": "bü@example.com", "wallet_id": None}, "currency": "USD", "amount": 5, "description": None}
    text = 'POST\n/api/v1/transfers\n{"amount":5,"currency":"USD","to":{"email":"bü@example.com"}}'

    assert hashlib.sha256(text.encode()).hexdigest() == hash_request("POST", ROUTE, sent)


@pytest.mark.parametrize(
    "other",
    [
        {"amount": 2, "currency": "USD"},
        {"amount": "1", "currency": "USD"},
        {"amount": 1, "currency": "usd"},
        {"amount": 1, "currency": "USD", "metadata": {}},
        {"amount": 1, "currency": "USD", "description": ""},
        {"amount": 1, "currency": "USD", "metadata": {"a": "b"}},
    ],
)
def test_hash_distinguishes_requests(other: dict[str, Any]) -> None:
    """Another value, type or field is another request."""
    assert hash_request("POST", ROUTE, {"amount": 1, "currency": "USD"}) != hash_request("POST", ROUTE, other)


def test_hash_covers_method_and_route() -> None:
    """The same body with another method or route is another request."""
    assert len({hash_request(method, route, {}) for method in ("POST", "PUT") for route in (ROUTE, "/other")}) == 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("abc", max_size=2), children, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc", max_size=2), JSON, max_size=4))
def test_hash_ignores_order_and_nulls(document: dict[str, Any]) -> None:
    """The order of members and null members change nothing, at any depth."""
    assert hash_request("POST", ROUTE, document) == hash_request("POST", ROUTE, _rearranged(document))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=4))
def test_hash_is_that_of_the_first_release(document: dict[str, Any]) -> None:
    """Stored hashes stay valid: the canonical JSON is that of the standard library, by which the first ones were computed."""
    text = f"POST\n{ROUTE}\n{json.dumps(_pruned(document), sort_keys=True, separators=(',', ':'), ensure_ascii=False)}"

    assert hashlib.sha256(text.encode()).hexdigest() == hash_request("POST", ROUTE, document)


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _pruned(member) for name, member in value.items() if member is not None}
    return [_pruned(member) for member in value] if isinstance(value, list) else value


def _rearranged(value: Any) -> Any:
    if isinstance(value, dict):
        members = {"zz": None} | {name: _rearranged(member) for name, member in reversed(list(value.items()))}
        return dict(reversed(list(members.items())))
    if isinstance(value, list):
        return [_rearranged(member) for member in value]
    return value


def test_a_fingerprint_belongs_to_one_request() -> None:
    """Another user, key or body has another fingerprint; the cache key does not depend on the body and hides the key."""
    requests = [
        KeyedRequest("u", "k", "h"), KeyedRequest("v", "k", "h"), KeyedRequest("u", "l", "h"), KeyedRequest("u", "k", "i"),
        KeyedRequest("u\nk", "", "h"),
    ]  # fmt: skip

    assert len({request.fingerprint for request in requests}) == 5
    assert requests[0].cache_key == requests[3].cache_key != requests[1].cache_key != requests[2].cache_key
    assert "secret" not in KeyedRequest("u", "secret", "h").cache_key
