"""Routes of wallets. Whose a wallet is, is checked here: another's answers as an unknown one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from aiohttp import web

from services.chassis.body import InvalidRequest
from services.contracts.api_keys import Scope
from services.contracts.identifiers import parse_id
from services.contracts.refusal import FieldError
from services.gateway import compression, errors, file_stream, operations, responses, schemas
from services.gateway.api import names, statement
from services.gateway.api.wallet_facts import WALLET_FACTS, Facts
from services.gateway.operations import BODY, NO_KEY, QUERY, Answer, Operation, path_id
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import SESSIONS
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/wallets"

FILE_PAGES_AT_ONCE = 2
"""Pages of files that are read at the same time, of all clients together: long files take turns, and slow nothing else down."""

FILE_PAGES: web.AppKey[asyncio.Semaphore] = web.AppKey("file_pages")

CSV = "text/csv"


class _File(NamedTuple):
    """What is exported: with which parameters a page is read, and whether all pages are."""

    wallet_id: str
    currency: str
    params: dict[str, str]
    is_whole: bool


async def list_wallets(request: web.Request) -> web.Response:
    """Your wallets, in the order in which they were opened.

    The one in the default currency is always among them.
    """
    asked: schemas.types.PageQuery = request[QUERY]
    if asked.cursor is not None and parse_id(asked.cursor) is None:
        raise InvalidRequest(errors=[FieldError("cursor", "is not a cursor of this list")])
    found = sorted(await _wallets(request), key=lambda wallet: str(wallet["id"]))
    rest = [wallet for wallet in found if asked.cursor is None or wallet["id"] > asked.cursor]
    limit = asked.limit or schemas.types.PAGE_LIMIT
    page = rest[:limit]
    return responses.document({"items": page, "next_cursor": page[-1]["id"] if len(rest) > limit else None})


async def open_wallet(request: web.Request) -> web.Response:
    """Open a wallet in another currency.

    There is one wallet per user and currency: an open one is answered with 200.
    """
    asked: schemas.wallets.NewWallet = request[BODY]
    is_new = all(wallet["currency"] != asked.currency for wallet in await _wallets(request))
    wallet = await call(
        request.app[UPSTREAMS].wallet,
        "POST",
        "/internal/wallets",
        body={"owner_id": request[PRINCIPAL].user_id, "currency": asked.currency},
    )
    return responses.document(wallet, status=201 if is_new else 200, headers={"Location": f"{BASE}/{wallet['id']}"})


async def get_wallet(request: web.Request) -> web.Response:
    """One wallet of yours."""
    wallet_id = path_id(request, errors.WalletNotFound)
    path = f"/internal/wallets/{wallet_id}"
    wallet = await call(request.app[UPSTREAMS].wallet, "GET", path, missing=errors.WalletNotFound)
    if wallet["owner_id"] != request[PRINCIPAL].user_id:
        raise errors.WalletNotFound
    return responses.document(wallet)


async def get_balance(request: web.Request) -> web.Response:
    """The balance of a wallet, now or at a past instant.

    Without `at`: the current balance; a payment being posted may be missing. With `at`: the balance after the last entry at or
    before that instant; it never changes. An `at` in the future means now (`as_of` shows the instant used). If a payment being
    posted could still change the figure, the request waits up to 2 s and then returns 409 `moment_not_final`.
    """
    asked: schemas.wallets.BalanceQuery = request[QUERY]
    wallet_id, _ = await _own_wallet(request)
    balance = await call(
        request.app[UPSTREAMS].wallet,
        "GET",
        f"/internal/wallets/{wallet_id}/balance",
        params=asked.model_dump(mode="json", exclude_none=True),
        missing=errors.WalletNotFound,
    )
    return responses.document(balance)


async def get_statement(request: web.Request) -> web.StreamResponse:
    """The entries of a wallet, newest first.

    A statement with `to` is final: it never changes. While a payment that is being posted may still belong to it, the request
    waits for up to 2 s; then it is refused with 409, and `final_before` is the instant up to which statements are final. Without
    `to`, or with one in the future, it is the list as it is now.

    With `Accept: text/csv` it is a file: all entries of the period, however many, or one page of them where `limit` is given.
    Entries posted while the file is sent are not included. If the file cannot be completed, the connection closes early, so
    the client sees an incomplete response. Over HTTP/1.0 a file of more than one page is refused.
    """
    asked: schemas.types.PeriodQuery = request[QUERY]
    wants_csv = _wants_csv(request)
    params = asked.parameters()
    if wants_csv and asked.limit is None:
        params["limit"] = str(schemas.types.PAGE_LIMIT_MAX)
    try:
        async with asyncio.timeout(operations.REQUEST_SECONDS):
            wallet_id, facts = await _own_wallet(request)
            page = await _statement_page(request, wallet_id, params)
            lines = await _named(request, page)
    except TimeoutError:
        raise errors.NoResponseInTime from None
    if wants_csv:
        return await _statement_file(
            request, _File(wallet_id, facts.currency, params, asked.limit is None), page, lines
        )
    return responses.document({"items": lines, "next_cursor": page["next_cursor"]}, headers={"Vary": "Accept"})


async def _wallets(request: web.Request) -> list[dict[str, Any]]:
    params = {"owner_id": request[PRINCIPAL].user_id}
    answer = await call(request.app[UPSTREAMS].wallet, "GET", "/internal/wallets", params=params)
    items: list[dict[str, Any]] = answer["items"]
    return items


async def _own_wallet(request: web.Request) -> tuple[str, Facts]:
    wallet_id = path_id(request, errors.WalletNotFound)
    return wallet_id, await request.app[WALLET_FACTS].find_own(wallet_id, request[PRINCIPAL].user_id)


async def _statement_page(request: web.Request, wallet_id: str, params: dict[str, str]) -> dict[str, Any]:
    path = f"/internal/wallets/{wallet_id}/statement"
    page: dict[str, Any] = await call(
        request.app[UPSTREAMS].wallet, "GET", path, params=params, missing=errors.WalletNotFound
    )
    return page


async def _named(request: web.Request, page: dict[str, Any]) -> list[dict[str, Any]]:
    found = await names.find(request.app[UPSTREAMS].auth, statement.owners(page["items"]))
    return statement.with_names(page["items"], found)


async def _statement_file(
    request: web.Request, file: _File, page: dict[str, Any], lines: list[dict[str, Any]]
) -> web.StreamResponse:
    headers = responses.attachment(f"statement-{file.wallet_id}.csv") | {"Vary": "Accept"}
    if page["next_cursor"] and file.is_whole:
        parts, user_id = _parts(request, file, page, lines), request[PRINCIPAL].user_id
        return await file_stream.send(request, parts, user_id=user_id, content_type=CSV, headers=headers)
    if page["next_cursor"]:
        following = request.rel_url.update_query(cursor=page["next_cursor"])
        headers["Link"] = f'<{following}>; rel="next"'
    text = statement.CSV_HEADER + statement.render_csv(lines, file.currency)
    return web.Response(text=text, content_type=CSV, headers=headers)


async def _parts(
    request: web.Request, file: _File, page: dict[str, Any], lines: list[dict[str, Any]]
) -> AsyncGenerator[str]:
    """The file, page by page below the entry that was the newest: what arrives meanwhile is above it."""
    yield statement.CSV_HEADER + statement.render_csv(lines, file.currency)
    while page["next_cursor"]:
        if request.app[SESSIONS].has_ended(request[PRINCIPAL].session_id):
            raise errors.InvalidToken
        async with request.app[FILE_PAGES]:
            page = await _statement_page(request, file.wallet_id, file.params | {"cursor": page["next_cursor"]})
            text = statement.render_csv(await _named(request, page), file.currency)
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
        (Answer(200, "A page of wallets.", schemas.wallets.WalletPage),),
        query=schemas.types.PageQuery,
        key_scope=Scope.READ,
    ),
    Operation(
        "POST",
        BASE,
        open_wallet,
        (
            Answer(201, "Opened.", schemas.wallets.Wallet, headers=("Location",)),
            Answer(200, "It was open.", schemas.wallets.Wallet, headers=("Location",)),
        ),
        body=schemas.wallets.NewWallet,
        key_scope=NO_KEY,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}",
        get_wallet,
        (Answer(200, "The wallet.", schemas.wallets.Wallet),),
        refusals=(errors.WalletNotFound,),
        key_scope=Scope.READ,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}/balance",
        get_balance,
        (Answer(200, "The balance.", schemas.wallets.Balance),),
        query=schemas.wallets.BalanceQuery,
        refusals=(errors.WalletNotFound, *errors.ON_MOMENT),
        key_scope=Scope.READ,
    ),
    Operation(
        "GET",
        f"{BASE}/{{id}}/statement",
        get_statement,
        (
            Answer(200, "A page of entries.", schemas.wallets.EntryPage),
            Answer(200, "The entries as a file.", media_type="text/csv", headers=("Link",)),
        ),
        query=schemas.types.PeriodQuery,
        refusals=(errors.WalletNotFound, *errors.ON_MOMENT, errors.HttpVersionTooOld, errors.TooManyFiles),
        seconds=None,
        key_scope=Scope.READ,
    ),
)
