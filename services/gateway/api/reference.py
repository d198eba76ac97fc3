"""Public routes: currencies, keys, the OpenAPI document, pages and health."""

from __future__ import annotations

from aiohttp import web

from services.chassis.encoding import encode
from services.contracts.currencies import PUBLISHED
from services.contracts.money import CURRENCIES, TEST_CURRENCY, WITHDRAWN
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import pages
from services.gateway.operations import Access, Operation, Response
from services.gateway.security.jwks import KEYS

BASE = operations.BASE

DOCUMENT: web.AppKey[bytes] = web.AppKey("openapi_document")
DOCS: web.AppKey[str] = web.AppKey("docs_page")

_A_DAY = {"Cache-Control": "public, max-age=86400"}
_A_MINUTE = {"Cache-Control": "public, max-age=60"}

_CURRENCIES = encode(
    {
        "items": [
            {
                "code": currency.code,
                "exponent": currency.exponent,
                "name": currency.name,
                "withdrawn": currency.code in WITHDRAWN,
                "test": currency.code == TEST_CURRENCY,
            }
            for currency in CURRENCIES.values()
        ],
        "published": PUBLISHED,
    }
)


async def list_currencies(request: web.Request) -> web.Response:
    """List currencies.

    `exponent` is the number of decimal digits of the minor unit. Format money by this list: other tables disagree with ISO 4217
    on some currencies. `withdrawn`: ISO 4217 has withdrawn this currency; existing wallets keep working, but no new ones can be
    opened. `test`: the code that ISO 4217 reserves for tests; it is no money, and front ends do not offer it.
    """
    return responses.published(request, _CURRENCIES, headers=_A_DAY)


async def list_keys(request: web.Request) -> web.Response:
    """Get the public keys that verify access tokens (RFC 7517)."""
    keys = request.app[KEYS]
    if not keys.are_known:
        raise errors.KeysUnavailable
    return responses.document(keys.document, headers=_A_MINUTE)


async def get_document(request: web.Request) -> web.Response:
    """Get this document (OpenAPI 3.1)."""
    return responses.published(request, request.app[DOCUMENT], headers=_A_MINUTE)


async def get_docs(request: web.Request) -> web.Response:
    """Get this document as a web page."""
    return responses.page(request.app[DOCS], policy=pages.POLICY)


async def get_home(_request: web.Request) -> web.Response:
    """Get the front page."""
    return responses.page(pages.HOME, policy=pages.POLICY)


_TAGGED = ("ETag",)

OPERATIONS = (
    Operation(
        "GET",
        f"{BASE}/currencies",
        list_currencies,
        (
            Response(200, "All currencies.", schemas.system.CurrencyList, headers=_TAGGED),
            Response(304, "The list has not changed.", headers=_TAGGED),
        ),
        access=Access.PUBLIC,
        headers=("If-None-Match",),
        calls_upstream=False,
    ),
    Operation(
        "GET",
        "/.well-known/jwks.json",
        list_keys,
        (Response(200, "The key set.", schemas.system.KeySet),),
        access=Access.PUBLIC,
        refusals=(errors.KeysUnavailable,),
        calls_upstream=False,
    ),
    Operation(
        "GET",
        f"{BASE}/openapi.json",
        get_document,
        (
            Response(200, "The document.", headers=_TAGGED),
            Response(304, "The document has not changed.", headers=_TAGGED),
        ),
        access=Access.PUBLIC,
        headers=("If-None-Match",),
        calls_upstream=False,
    ),
    Operation(
        "GET",
        f"{BASE}/docs",
        get_docs,
        (Response(200, "The page.", media_type="text/html"),),
        access=Access.PUBLIC,
        query_free=True,
        calls_upstream=False,
    ),
    Operation(
        "GET",
        "/",
        get_home,
        (Response(200, "The page.", media_type="text/html"),),
        access=Access.PUBLIC,
        query_free=True,
        calls_upstream=False,
    ),
)

HEALTH = (
    Operation(
        "GET",
        "/livez",
        None,
        (Response(200, "The process is alive.", schemas.system.Liveness),),
        access=Access.PUBLIC,
        summary="Check liveness.",
        query_free=True,
        calls_upstream=False,
    ),
    Operation(
        "GET",
        "/readyz",
        None,
        (
            Response(200, "The gateway is ready.", schemas.system.Readiness),
            Response(503, "The gateway is not ready, or is shutting down.", schemas.system.Readiness),
        ),
        access=Access.PUBLIC,
        summary="Check readiness.",
        query_free=True,
        calls_upstream=False,
    ),
)
"""Served by the chassis; documented here."""
