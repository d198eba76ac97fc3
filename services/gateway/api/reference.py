"""Routes of what is the same for everybody: currencies, keys, the document of this API, pages for people, health."""

from __future__ import annotations

from aiohttp import web

from services.contracts.currencies import PUBLISHED
from services.contracts.money import CURRENCIES, WITHDRAWN
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import pages
from services.gateway.operations import Access, Answer, Operation
from services.gateway.security.jwks import KEYS

BASE = operations.BASE

DOCUMENT: web.AppKey[bytes] = web.AppKey("openapi_document")
DOCS: web.AppKey[str] = web.AppKey("docs_page")

_A_DAY = {"Cache-Control": "public, max-age=86400"}
_A_MINUTE = {"Cache-Control": "public, max-age=60"}

_CURRENCIES = responses.encode(
    {
        "items": [
            {
                "code": currency.code,
                "exponent": currency.exponent,
                "name": currency.name,
                "withdrawn": currency.code in WITHDRAWN,
            }
            for currency in CURRENCIES.values()
        ],
        "published": PUBLISHED,
    }
)


async def list_currencies(request: web.Request) -> web.Response:
    """Every currency, with the number of decimal digits that its minor unit stands for.

    Format money by this list: tables elsewhere disagree with ISO 4217 on some. `withdrawn`: ISO 4217 has withdrawn this
    currency. Existing wallets keep working; new ones cannot be opened.
    """
    return responses.published(request, _CURRENCIES, headers=_A_DAY)


async def list_keys(request: web.Request) -> web.Response:
    """The public keys that sign access tokens (RFC 7517)."""
    keys = request.app[KEYS]
    if not keys.are_known:
        raise errors.KeysUnavailable
    return responses.document(keys.document, headers=_A_MINUTE)


async def get_document(request: web.Request) -> web.Response:
    """This document (OpenAPI 3.1)."""
    return responses.published(request, request.app[DOCUMENT], headers=_A_MINUTE)


async def get_docs(request: web.Request) -> web.Response:
    """The document as a page to read."""
    return responses.page(request.app[DOCS], policy=pages.POLICY)


async def get_home(_request: web.Request) -> web.Response:
    """The front page."""
    return responses.page(pages.HOME, policy=pages.POLICY)


_TAGGED = ("ETag",)

OPERATIONS = (
    Operation(
        "GET",
        f"{BASE}/currencies",
        list_currencies,
        (
            Answer(200, "All currencies.", schemas.system.CurrencyList, headers=_TAGGED),
            Answer(304, "They are as the client knows them.", headers=_TAGGED),
        ),
        access=Access.PUBLIC,
        headers=("If-None-Match",),
        asks=False,
    ),
    Operation(
        "GET",
        "/.well-known/jwks.json",
        list_keys,
        (Answer(200, "The key set.", schemas.system.KeySet),),
        access=Access.PUBLIC,
        refusals=(errors.KeysUnavailable,),
        asks=False,
    ),
    Operation(
        "GET",
        f"{BASE}/openapi.json",
        get_document,
        (
            Answer(200, "The document.", headers=_TAGGED),
            Answer(304, "It is as the client knows it.", headers=_TAGGED),
        ),
        access=Access.PUBLIC,
        headers=("If-None-Match",),
        asks=False,
    ),
    Operation(
        "GET",
        f"{BASE}/docs",
        get_docs,
        (Answer(200, "The page.", media_type="text/html"),),
        access=Access.PUBLIC,
        query_free=True,
        asks=False,
    ),
    Operation(
        "GET",
        "/",
        get_home,
        (Answer(200, "The page.", media_type="text/html"),),
        access=Access.PUBLIC,
        query_free=True,
        asks=False,
    ),
)

HEALTH = (
    Operation(
        "GET",
        "/livez",
        None,
        (Answer(200, "The process turns.", schemas.system.Liveness),),
        access=Access.PUBLIC,
        summary="Does the process turn?",
        query_free=True,
        asks=False,
    ),
    Operation(
        "GET",
        "/readyz",
        None,
        (
            Answer(200, "It can do its part.", schemas.system.Readiness),
            Answer(503, "It cannot yet, or will not any more.", schemas.system.Readiness),
        ),
        access=Access.PUBLIC,
        summary="Can it do its part?",
        query_free=True,
        asks=False,
    ),
)
"""Served by the chassis; documented here."""
