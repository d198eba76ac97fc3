"""One request that moves money: sent until its answer is known, always with the same idempotency key."""

from __future__ import annotations

import contextlib
import functools
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from payflow import document as read
from payflow.errors import KEY_REUSED, InvalidArgument, OutcomeUnknown, PayFlowError, Problem
from payflow.limits import IDEMPOTENCY_KEY_LENGTH_MAX, KEY, PREFER_WAIT_SECONDS_MAX, Limits
from payflow.retry import Patience
from payflow.transfer import Transfer
from payflow.transport import Answer


def new_key() -> str:
    """An idempotency key. Make and store one before `send` where the payment must survive the end of this program."""
    return str(uuid.uuid4())


def check_key(key: str) -> str:
    """The key, unchanged. An empty one is an error like any other, never a request for a new key.

    Raises:
        InvalidArgument: it is not a text of 1 to 255 visible ASCII characters, which the gateway requires.
    """
    if not isinstance(key, str) or not KEY.fullmatch(key) or len(key) > IDEMPOTENCY_KEY_LENGTH_MAX:
        raise InvalidArgument("the idempotency key must have 1 to 255 visible ASCII characters")
    return key


class Call(Protocol):
    """One authenticated request, sent once."""

    def __call__(
        self, method: str, path: str, *, body: Any, headers: Mapping[str, str], seconds: float
    ) -> Awaitable[Answer]:
        """Send it."""


class Submission:
    """One transfer on its way in. `deadline` (monotonic seconds) is until when its outcome is waited for."""

    def __init__(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        key: str,
        wait_seconds: float,
        limits: Limits,
    ) -> None:
        """Every attempt carries this key and this body, byte for byte.

        Raises:
            InvalidArgument: `wait_seconds` is negative or not a number.
        """
        if not wait_seconds >= 0:
            raise InvalidArgument(f"wait_seconds must be 0 or more, and is {wait_seconds}")
        self.deadline = 0.0
        self._path = path
        self._body = body
        self._key = key
        self._request_id = str(uuid.uuid4())
        self._wait_seconds = wait_seconds
        self._limits = limits
        self._maybe_done = False

    async def accept(self, call: Call, look_up: Callable[[str], Awaitable[Transfer | None]]) -> Transfer:
        """The accepted transfer; finalized already if that came within the wait.

        Raises:
            OutcomeUnknown: an attempt may have been carried out, and nothing can be found under the key.
            PayFlowError: as it stands, when certainly no attempt was carried out.
        """
        try:
            return await self._send(call)
        except PayFlowError as error:
            if not self._maybe_done or _is_reused(error):
                raise
            found = None
            with contextlib.suppress(PayFlowError):
                found = await look_up(self._key)
            if found is None or not self._is_mine(found):
                raise OutcomeUnknown(self._key, reason=error, request_id=self._request_id) from error
            self.deadline = time.monotonic() + self._wait_seconds
            return found

    async def _send(self, call: Call) -> Transfer:
        patience = Patience(self._limits)
        while True:
            try:
                return await self._send_once(call)
            except PayFlowError as error:
                self._maybe_done |= error.maybe_done
                await patience.pause(error)

    async def _send_once(self, call: Call) -> Transfer:
        self.deadline = time.monotonic() + self._wait_seconds
        prefer_seconds = int(min(self._wait_seconds, PREFER_WAIT_SECONDS_MAX))
        headers = {"Idempotency-Key": self._key, "X-Request-Id": self._request_id}
        if prefer_seconds:
            headers["Prefer"] = f"wait={prefer_seconds}"
        answer = await call(
            "POST",
            self._path,
            body=self._body,
            headers=headers,
            seconds=self._limits.answer_seconds + prefer_seconds,
        )
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        reader = functools.partial(Transfer.read, idempotency_key=self._key, replayed=replayed)
        return read.convert(reader, answer.document)

    def _is_mine(self, found: Transfer) -> bool:
        # A key that the caller had used before leads to that other transfer: not to be taken for this one.
        # What was left out is compared too where the transfer shows it; a wallet that the gateway chose is not.
        body = self._body
        chosen = {
            "from_wallet_id": body.get("from_wallet_id"),
            "to_wallet_id": body.get("to", body).get("wallet_id"),
        }
        exact = {
            "amount": body["amount"],
            "currency": body["currency"],
            "description": body.get("reference", body.get("description")),
            "metadata": body.get("metadata"),
        }
        given = exact | {name: value for name, value in chosen.items() if value is not None}
        return all(getattr(found, name) == value for name, value in given.items())


def _is_reused(error: PayFlowError) -> bool:
    return isinstance(error, Problem) and error.code == KEY_REUSED
