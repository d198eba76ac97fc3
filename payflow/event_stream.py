"""Following the events of a user: reconnects without missing or repeating an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from payflow.authentication import bearer
from payflow.errors import GatewayUnreachable, NoResponse, PayFlowError, Problem
from payflow.events import TOKEN_SPENT, Event
from payflow.gateway import Gateway
from payflow.retry import reconnect_seconds


async def follow(gateway: Gateway, last_event_id: int | None) -> AsyncIterator[Event]:
    """The events after `last_event_id`, or from now on, without end.

    Raises:
        NotLoggedIn, SessionEnded, ApiKeyRefused
        Problem: a refusal that a retry does not help.
    """
    failures = 0
    token: str | None = None
    spent: str | None = None
    while True:
        error: PayFlowError | None = None
        try:
            token = await gateway.token(spent=spent)
            headers = bearer(token) | ({} if last_event_id is None else {"Last-Event-ID": str(last_event_id)})
            async with gateway.transport.stream("/events", headers=headers) as blocks:
                async for block in blocks:
                    last_event_id = last_event_id if block.id is None else block.id
                    failures = 0
                    if block.type in TOKEN_SPENT:
                        spent = token
                    elif (event := block.event) is not None:
                        yield event
        except Problem as problem:
            if problem.is_unauthorized and token is not None and spent == token:
                raise gateway.authentication.refused() from problem
            if not problem.is_unauthorized and not problem.retry_helps:
                raise
            spent = token if problem.is_unauthorized else spent
            error = problem
        except (GatewayUnreachable, NoResponse) as failure:
            error = failure
        await asyncio.sleep(reconnect_seconds(gateway.limits, failures, error))
        failures += 1
