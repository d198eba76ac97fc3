"""Routes for wallets. A wallet of another user is reported as unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from aiohttp import web

from services.chassis.body import InvalidParameter
from services.contracts import limits
from services.contracts.api_keys import Scope
from services.contracts.identifiers import parse_id
from services.gateway import compression, errors, file_stream, operations, responses, schemas
from services.gateway.api import names, statement
from services.gateway.api.wallet_facts import WALLET_FACTS, Facts
from services.gateway.clients.wallet import WalletRead
from services.gateway.operations import BODY, NO_KEY, QUERY, Operation, Response, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import REVOCATIONS
from services.gateway.upstreams import UPSTREAMS
from services.gateway.wallet_reader import WALLET_READER

BASE = f"{operations.BASE}/wallets"

FILE_PAGES_AT_ONCE = 2
"""Pages of files read concurrently, of all clients together: long files take turns and slow nothing else down."""

FILE_PAGES: web.AppKey[asyncio.Semaphore] = web.AppKey("file_pages")

CSV = "text/csv"

AMOUNTS = ("balance", "available", "held")


class _File(NamedTuple):
    """A statement to export: the parameters of a page, and whether to include all pages."""

    wallet_id: str
    currency: str
    params: dict[str, str]
    is_whole: bool


async def list_wallets(request: web.Request) -> web.Response:
    """List wallets, in the order in which they were opened.

    The wallet in the default currency is always included.
    """
    query: schemas.types.PageQuery = request[QUERY]
    if query.cursor is not None and parse_id(query.cursor) is None:
        raise InvalidParameter("cursor", "is not a cursor of this list")
    found = await request.app[UPSTREAMS].wallet.list_wallets(request[PRINCIPAL].user_id)
    found.sort(key=lambda wallet: str(wallet["id"]))
    rest = [wallet for wallet in found if query.cursor is None or wallet["id"] > query.cursor]
    limit = query.limit or limits.PAGE_DEFAULT
    page = rest[:limit]
    return responses.document({"items": page, "next_cursor": page[-1]["id"] if len(rest) > limit else None})


async def open_wallet(request: web.Request) -> web.Response:
    """Open a wallet.

    There is one wallet per user and currency: if it is already open, the response is 200.
    """
    body: schemas.wallets.NewWallet = request[BODY]
    owner_id, service = request[PRINCIPAL].user_id, request.app[UPSTREAMS].wallet
    is_new = all(wallet["currency"] != body.currency for wallet in await service.list_wallets(owner_id))
    wallet = await service.open_wallet(owner_id=owner_id, currency=body.currency)
    return responses.document(wallet, status=201 if is_new else 200, headers={"Location": f"{BASE}/{wallet['id']}"})


async def get_wallet(request: web.Request) -> web.Response:
    """Get a wallet."""
    return responses.document((await _read_own(request))["wallet"])


async def get_balance(request: web.Request) -> web.Response:
    """Get the balance of a wallet, now or at a past instant.

    Without `at`: the current balance; a payment being posted may be missing. With `at`: the balance after the last entry at or
    before that instant; it never changes. An `at` in the future means now (`as_of` shows the instant used). If a payment being
    posted could still change the figure, the request waits up to 2 s and then returns 409 `moment_not_final`.
    """
    query: schemas.wallets.BalanceQuery = request[QUERY]
    if query.at is None:
        read = await _read_own(request)
        return responses.document({name: read["wallet"][name] for name in AMOUNTS} | {"as_of": read["as_of"]})
    at = query.model_dump(mode="json")["at"]
    try:
        async with asyncio.timeout(operations.REQUEST_SECONDS):
            wallet_id, _ = await _own_wallet(request)
            return responses.document(await request.app[UPSTREAMS].wallet.get_balance(wallet_id, at=at))
    except TimeoutError:
        raise errors.NoResponseInTime from None


async def get_statement(request: web.Request) -> web.StreamResponse:
    """List the entries of a wallet, newest first.

    A statement with `to` is final: it never changes. If a payment being posted could still belong to it, the request waits up to
    2 s and then returns 409; `final_before` is the instant up to which statements are final. Without `to`, or with one in the
    future, it is the current list.

    With `Accept: text/csv` the response is a file: all entries of the period, however many, or one page of them if `limit` is
    given. Entries posted while the file is sent are not included. If the file cannot be completed, the connection closes early,
    so the client sees an incomplete response. Over HTTP/1.0 a file of more than one page is refused.
    """
    query: schemas.types.PeriodQuery = request[QUERY]
    wants_csv = _wants_csv(request)
    params = query.parameters()
    if wants_csv and query.limit is None:
        params["limit"] = str(limits.PAGE_MAX)
    try:
        async with asyncio.timeout(operations.REQUEST_SECONDS):
            wallet_id, facts = await _own_wallet(request)
            page = await request.app[UPSTREAMS].wallet.get_statement(wallet_id, params)
            lines = await _with_names(request, page)
    except TimeoutError:
        raise errors.NoResponseInTime from None
    if wants_csv:
        return await _statement_file(
            request, _File(wallet_id, facts.currency, params, query.limit is None), page, lines=lines
        )
    return responses.document({"items": lines, "next_cursor": page["next_cursor"]}, headers={"Vary": "Accept"})


async def _read_own(request: web.Request) -> WalletRead:
    wallet_id = path_id(request, errors.WalletNotFound)
    return await request.app[WALLET_READER].read_own(wallet_id, request[PRINCIPAL].user_id)


async def _own_wallet(request: web.Request) -> tuple[str, Facts]:
    wallet_id = path_id(request, errors.WalletNotFound)
    return wallet_id, await request.app[WALLET_FACTS].find_own(wallet_id, request[PRINCIPAL].user_id)


async def _with_names(request: web.Request, page: dict[str, Any]) -> list[dict[str, Any]]:
    found = await names.find(request.app[UPSTREAMS].auth, statement.owners(page["items"]))
    return statement.with_names(page["items"], found)


async def _statement_file(
    request: web.Request, file: _File, page: dict[str, Any], *, lines: list[dict[str, Any]]
) -> web.StreamResponse:
    headers = responses.attachment(f"statement-{file.wallet_id}.csv") | {"Vary": "Accept"}
    if page["next_cursor"] and file.is_whole:
        parts, user_id = _parts(request, file, page, lines=lines), request[PRINCIPAL].user_id
        return await file_stream.send(request, parts, user_id=user_id, content_type=CSV, headers=headers)
    if page["next_cursor"]:
        following = request.rel_url.update_query(cursor=page["next_cursor"])
        headers["Link"] = f'<{following}>; rel="next"'
    text = statement.CSV_HEADER + statement.render_csv(lines, file.currency)
    return web.Response(text=text, content_type=CSV, headers=headers)


async def _parts(
    request: web.Request, file: _File, page: dict[str, Any], *, lines: list[dict[str, Any]]
) -> AsyncGenerator[str]:
    """The file, page by page below the entry that was the newest; later entries are above it."""
    yield statement.CSV_HEADER + statement.render_csv(lines, file.currency)
    while page["next_cursor"]:
        if request.app[REVOCATIONS].is_revoked(request[PRINCIPAL].session_id):
            raise errors.InvalidToken
        async with request.app[FILE_PAGES]:
            params = file.params | {"cursor": page["next_cursor"]}
            page = await request.app[UPSTREAMS].wallet.get_statement(file.wallet_id, params)
            text = statement.render_csv(await _with_names(request, page), file.currency)
        yield text


def _wants_csv(request: web.Request) -> bool:
    wanted = compression.weigh(",".join(request.headers.getall("Accept", ())))
    weight = wanted.get("text/csv", 0.0)
    return weight > 0 and weight >= wanted.get("application/json", 0.0)


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_wallets,
        (Response(200, "A page of wallets.", schemas.wallets.WalletPage),),
        query=schemas.types.PageQuery,
        key_scope=Scope.READ,
    ),
    Operation(
        "POST",
        BASE,
        open_wallet,
        (
            Response(201, "The new wallet.", schemas.wallets.Wallet, headers=("Location",)),
            Response(200, "The wallet that is already open.", schemas.wallets.Wallet, headers=("Location",)),
        ),
        body=schemas.wallets.NewWallet,
        key_scope=NO_KEY,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}",
        get_wallet,
        (Response(200, "The wallet.", schemas.wallets.Wallet),),
        refusals=(errors.WalletNotFound,),
        seconds=None,
        key_scope=Scope.READ,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}/balance",
        get_balance,
        (Response(200, "The balance.", schemas.wallets.Balance),),
        query=schemas.wallets.BalanceQuery,
        refusals=(errors.WalletNotFound, *errors.ON_MOMENT),
        seconds=None,
        key_scope=Scope.READ,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}/statement",
        get_statement,
        (
            Response(200, "A page of entries.", schemas.wallets.EntryPage),
            Response(200, "The entries as a CSV file.", media_type="text/csv", headers=("Link",)),
        ),
        query=schemas.types.PeriodQuery,
        refusals=(errors.WalletNotFound, *errors.ON_MOMENT, errors.HttpVersionTooOld, errors.TooManyFiles),
        seconds=None,
        key_scope=Scope.READ,
    ),
)
