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
from services.chassis.dead_letters import DeadLetterNotFound, DeadLetterNotReplayable, Replay
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
    """What a replay would do. `refusal` is why it must not be done, None when it may."""

    effects: list[Effect]
    detail: str
    refusal: str | None = None


Preview = Callable[[Record], Awaitable[ReplayPreview]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(_Model):
    """Which dead letters."""

    queue: str | None = None
    state: Literal["waiting", "replayed", "discarded"] | None = None
    limit: Annotated[int, Field(ge=1, le=audit.PAGE_MAX)] = audit.PAGE_MAX
    before: str | None = None


class ReplayRequest(_Model):
    """Who replays it; with `dry_run` nothing is done, and only told."""

    operator_id: UUID
    request_id: str
    dry_run: bool = False


class DiscardRequest(_Model):
    """Who discards it, and why."""

    operator_id: UUID
    request_id: str
    reason: Annotated[str, StringConstraints(min_length=1, max_length=limits.DISCARD_REASON_LENGTH_MAX)]


PAGE = TypeAdapter(Page)
REPLAY = TypeAdapter(ReplayRequest)
DISCARD = TypeAdapter(DiscardRequest)


class DeadLetterApi:
    """Where operators deal with the dead letters of one queue."""

    def __init__(
        self, pool: Pool, queue: Queue, *, read_pool: Pool, broker_url: str, instance: str, preview: Preview
    ) -> None:
        """`pool` is for replays and discards, `read_pool` for lists; `preview` returns what a replay would do."""
        self._pool = pool
        self._read_pool = read_pool
        self._queue = queue
        self._broker_url = broker_url
        self._instance = instance
        self._foresee = preview

    def add_routes(self, app: web.Application, verifier: TokenVerifier) -> None:
        """The routes, for the gateway alone: it knows who is an operator."""
        gateway = callers(verifier, ["gateway"])
        base = "/internal/dead-letters"
        app.add_routes(
            [
                web.get(base, gateway(self.list_letters)),
                web.get(f"{base}/waiting", gateway(self.count)),
                web.get(f"{base}/{{id}}", gateway(self.get)),
                web.post(f"{base}/{{id}}/replay", gateway(self.replay)),
                web.post(f"{base}/{{id}}/discard", gateway(self.discard)),
            ]
        )

    async def list_letters(self, request: web.Request) -> web.Response:
        """A page, newest first, without the bodies."""
        asked = validate(PAGE, dict(request.query))
        below = audit.read_cursor(asked.before)
        found = await dead_letters.list_letters(
            self._read_pool, queue_name=asked.queue, state=asked.state, below=below, limit=asked.limit
        )
        return web.json_response({"items": [dead_letters.render(letter) for letter in found]})

    async def count(self, _request: web.Request) -> web.Response:
        """How many wait for a human."""
        return web.json_response({"waiting": await dead_letters.count(self._read_pool, self._queue)})

    async def get(self, request: web.Request) -> web.Response:
        """One dead letter with its body."""
        return web.json_response(dead_letters.render_whole(await dead_letters.get(self._read_pool, _id(request))))

    async def replay(self, request: web.Request) -> web.Response:
        """Put it into its queue once more, or only tell what that would do."""
        asked = validate_json(REPLAY, await request.read())
        letter = await dead_letters.get(self._read_pool, _id(request))
        prospect = await self._foresee(letter)
        if not asked.dry_run:
            if prospect.refusal is not None:
                raise DeadLetterNotReplayable(prospect.refusal)
            letter = await self._publish(letter, Replay(asked.operator_id, asked.request_id))
        return web.json_response(_render_preview(letter, prospect, dry_run=asked.dry_run))

    async def discard(self, request: web.Request) -> web.Response:
        """Let it wait no longer. No transfer is touched."""
        asked = validate_json(DISCARD, await request.read())
        by = Replay(asked.operator_id, asked.request_id)
        letter = await dead_letters.discard(self._pool, _id(request), asked.reason, by)
        return web.json_response(dead_letters.render(letter))

    async def _publish(self, letter: Record, by: Replay) -> Record:
        # A connection for this one action: it is rare, and the api needs the broker for nothing else.
        publisher = Publisher(self._broker_url, f"{self._instance} replay")
        try:
            return await dead_letters.replay(self._pool, publisher, letter, by)
        finally:
            await publisher.close()


def _render_preview(letter: Record, prospect: ReplayPreview, *, dry_run: bool) -> Mapping[str, Any]:
    subject = dead_letters.subject_of(letter["queue"])
    return {
        "dead_letter": dead_letters.render(letter),
        "dry_run": dry_run,
        "replayable": prospect.refusal is None,
        "detail": prospect.refusal or prospect.detail,
        f"{subject}s": [
            {
                f"{subject}_id": str(effect.subject_id),
                "status": effect.status,
                "effect": effect.effect,
                "detail": effect.detail,
            }
            for effect in prospect.effects
        ],
    }


def _id(request: web.Request) -> UUID:
    return path_id(request, DeadLetterNotFound)
