"""Who did what: the audit logs of the services behind, as one list for operators."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from services.chassis.client import Upstream
from services.contracts.api_keys import Scope
from services.gateway import operations, responses, schemas, upstreams
from services.gateway.api import merged_page
from services.gateway.operations import QUERY, Access, Answer, Operation
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/ops/audit"
PAGING = frozenset({"limit", "cursor"})


async def list_entries(request: web.Request) -> web.Response:
    """Who did what, newest first.

    Every service writes down what people and operators do to it, in the commit of the action. A service that does not answer
    within 1 s is listed in `unavailable`; what it has to tell comes with a later page.
    """
    asked: schemas.ops.AuditQuery = request[QUERY]
    matching = {name: value for name, value in asked.parameters().items() if name not in PAGING}
    sources = {service.name: partial(_list, service, matching) for service in request.app[UPSTREAMS].services()}
    page = await merged_page.read(sources, limit=asked.limit or schemas.types.PAGE_LIMIT, cursor=asked.cursor)
    return responses.document(page)


async def _list(service: Upstream, matching: Mapping[str, str], paging: Mapping[str, str]) -> Any:
    params = {**matching, **paging}
    page = await call(service, "GET", "/internal/audit", params=params, seconds=upstreams.SIDE_SECONDS)
    return {"items": [{**item, "service": service.name} for item in page["items"]]}


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_entries,
        (Answer(200, "A page of actions.", schemas.ops.AuditPage),),
        access=Access.OPERATOR,
        query=schemas.ops.AuditQuery,
        key_scope=Scope.OPERATE,
    ),
)
