"""A service's internal routes for its dead letters: parse, command, render."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from services.chassis import audit, dead_letters
from services.chassis.body import path_id, validate, validate_json
from services.chassis.broker import Publisher
from services.chassis.database import Pool, Record
from services.chassis.dead_letters import Actor, DeadLetterNotFound, DeadLetterNotReplayable
from services.chassis.server import callers
from services.chassis.service_tokens import TokenVerifier
from services.contracts import limits
from services.contracts.topology import Queue


class Effect(NamedTuple):
    """The effect of a replay on one subject: a machine word and a sentence. `status` is its status now."""

    subject_id: UUID
    status: str | None
    effect: str
    detail: str


class ReplayPreview(NamedTuple):
    """The effects of a replay. `refusal` is the reason why it is not allowed, None if it is."""

    effects: list[Effect]
    detail: str
    refusal: str | None = None


Preview = Callable[[Record], Awaitable[ReplayPreview]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(_Model):
    """Filters and position of a page."""

    queue: str | None = None
    state: Literal["waiting", "replayed", "discarded"] | None = None
    limit: Annotated[int, Field(ge=1, le=audit.PAGE_MAX)] = audit.PAGE_MAX
    before: str | None = None


class ReplayRequest(_Model):
    """The operator who replays; with `dry_run` the replay is only previewed."""

    operator_id: UUID
    request_id: str
    dry_run: bool = False


class DiscardRequest(_Model):
    """The operator who discards, and the reason."""

    operator_id: UUID
    request_id: str
    reason: Annotated[str, StringConstraints(min_length=1, max_length=limits.DISCARD_REASON_LENGTH_MAX)]


PAGE = TypeAdapter(Page)
REPLAY = TypeAdapter(ReplayRequest)
DISCARD = TypeAdapter(DiscardRequest)


class DeadLetterApi:
    """The routes on which operators list, replay and discard the dead letters of one queue."""

    def __init__(
        self, pool: Pool, queue: Queue, *, read_pool: Pool, broker_url: str, instance: str, preview: Preview
    ) -> None:
        """`pool` is for replays and discards, `read_pool` for lists; `preview` returns what a replay would do."""
        self._pool = pool
        self._read_pool = read_pool
        self._queue = queue
        self._broker_url = broker_url
        self._instance = instance
        self._preview = preview

    def add_routes(self, app: web.Application, verifier: TokenVerifier) -> None:
        """Add the routes. Only the gateway may call them: it checks the role of operator."""
        gateway = callers(verifier, ["gateway"])
        base = "/internal/dead-letters"
        app.add_routes(
            [
                web.get(base, gateway(self.list_dead_letters)),
                web.get(f"{base}/waiting", gateway(self.count)),
                web.get(f"{base}/{{id}}", gateway(self.get)),
                web.post(f"{base}/{{id}}/replay", gateway(self.replay)),
                web.post(f"{base}/{{id}}/discard", gateway(self.discard)),
            ]
        )

    async def list_dead_letters(self, request: web.Request) -> web.Response:
        """A page, newest first, without the bodies."""
        query = validate(PAGE, dict(request.query))
        found = await dead_letters.list_dead_letters(
            self._read_pool,
            queue_name=query.queue,
            state=query.state,
            below=audit.read_cursor(query.before),
            limit=query.limit,
        )
        return web.json_response({"items": [dead_letters.render(row) for row in found]})

    async def count(self, _request: web.Request) -> web.Response:
        """The number of waiting dead letters."""
        return web.json_response({"waiting": await dead_letters.count(self._read_pool, self._queue)})

    async def get(self, request: web.Request) -> web.Response:
        """One dead letter with its body."""
        return web.json_response(dead_letters.render_detail(await dead_letters.get(self._read_pool, _id(request))))

    async def replay(self, request: web.Request) -> web.Response:
        """Replay a dead letter, or only preview the replay."""
        body = validate_json(REPLAY, await request.read())
        dead_letter = await dead_letters.get(self._read_pool, _id(request))
        preview = await self._preview(dead_letter)
        if not body.dry_run:
            if preview.refusal is not None:
                raise DeadLetterNotReplayable(preview.refusal)
            dead_letter = await self._publish(dead_letter, Actor(body.operator_id, body.request_id))
        return web.json_response(_render_preview(dead_letter, preview, dry_run=body.dry_run))

    async def discard(self, request: web.Request) -> web.Response:
        """Discard a dead letter. Its subjects are not touched."""
        body = validate_json(DISCARD, await request.read())
        actor = Actor(body.operator_id, body.request_id)
        discarded = await dead_letters.discard(self._pool, _id(request), body.reason, actor)
        return web.json_response(dead_letters.render(discarded))

    async def _publish(self, dead_letter: Record, actor: Actor) -> Record:
        # A connection for this action alone: it is rare, and the api needs the broker for nothing else.
        publisher = Publisher(self._broker_url, f"{self._instance} replay")
        try:
            return await dead_letters.replay(self._pool, publisher, dead_letter, actor)
        finally:
            await publisher.close()


def _render_preview(dead_letter: Record, preview: ReplayPreview, *, dry_run: bool) -> Mapping[str, Any]:
    subject = dead_letters.subject_of(dead_letter["queue"])
    return {
        "dead_letter": dead_letters.render(dead_letter),
        "dry_run": dry_run,
        "replayable": preview.refusal is None,
        "detail": preview.refusal or preview.detail,
        f"{subject}s": [
            {
                f"{subject}_id": str(effect.subject_id),
                "status": effect.status,
                "effect": effect.effect,
                "detail": effect.detail,
            }
            for effect in preview.effects
        ],
    }


def _id(request: web.Request) -> UUID:
    return path_id(request, DeadLetterNotFound)
