"""Operator route for the audit logs of all services, merged into one list."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from services.contracts import limits
from services.contracts.api_keys import Scope
from services.gateway import operations, responses, schemas
from services.gateway.api import merged_page
from services.gateway.clients.service import ServiceClient
from services.gateway.operations import QUERY, Access, Operation, Response
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/ops/audit"
PAGING = frozenset({"limit", "cursor"})


async def list_entries(request: web.Request) -> web.Response:
    """List the audit log, newest first.

    Every service records what users and operators do to it, in the same commit. A service that does not respond within 1 s is
    listed in `unavailable`; its entries come with a later page.
    """
    query: schemas.ops.AuditQuery = request[QUERY]
    filters = {name: value for name, value in query.parameters().items() if name not in PAGING}
    sources = {service.name: partial(_list, service, filters) for service in request.app[UPSTREAMS].all()}
    page = await merged_page.read(sources, limit=query.limit or limits.PAGE_DEFAULT, cursor=query.cursor)
    return responses.document(page)


async def _list(service: ServiceClient, filters: Mapping[str, str], paging: Mapping[str, str]) -> Any:
    page = await service.list_audit({**filters, **paging})
    return {"items": [{**item, "service": service.name} for item in page["items"]]}


OPERATIONS = (
    Operation(
        "GET",
        BASE,
        list_entries,
        (Response(200, "A page of the audit log.", schemas.ops.AuditPage),),
        access=Access.OPERATOR,
        query=schemas.ops.AuditQuery,
        key_scope=Scope.OPERATE,
    ),
)
