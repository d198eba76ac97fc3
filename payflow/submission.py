"""A request that moves money: sent until its result is known, always with the same idempotency key."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
import uuid
from collections.abc import Mapping
from typing import Any

from payflow import document as read
from payflow.errors import KEY_REUSED, InvalidArgument, OutcomeUnknown, PayFlowError, Problem
from payflow.gateway import Gateway
from payflow.limits import IDEMPOTENCY_KEY_LENGTH_MAX, KEY, PREFER_WAIT_SECONDS_MAX
from payflow.request import given, segment
from payflow.retry import RetryPolicy
from payflow.transfer import Transfer


def new_key() -> str:
    """An idempotency key. Generate and store one before `send` if the payment must survive the end of this program."""
    return str(uuid.uuid4())


def check_key(key: str) -> str:
    """The key, unchanged. An empty one is an error like any other, not a request for a new key.

    Raises:
        InvalidArgument: it is not a text of 1 to 255 visible ASCII characters, which the gateway requires.
    """
    if not isinstance(key, str) or not KEY.fullmatch(key) or len(key) > IDEMPOTENCY_KEY_LENGTH_MAX:
        raise InvalidArgument("the idempotency key must have 1 to 255 visible ASCII characters")
    return key


async def submit(
    gateway: Gateway, path: str, body: Mapping[str, Any], *, key: str | None, wait_seconds: float
) -> Transfer:
    """Submit a transfer with `key`, or with a new one if it is None, and wait for its outcome.

    Raises:
        InvalidArgument: the key or `wait_seconds` is not valid; nothing was sent.
        OutcomeUnknown, Problem and other PayFlowErrors: as `Submission.accept`.
    """
    key = new_key() if key is None else check_key(key)
    submission = Submission(gateway, path, given(body), key=key, wait_seconds=wait_seconds)
    return await wait(gateway, await submission.accept(), deadline=submission.deadline)


async def wait(gateway: Gateway, transfer: Transfer, *, deadline: float) -> Transfer:
    """Poll a transfer until it has its outcome or `deadline` (monotonic seconds) has passed; errors while polling are ignored."""
    pause_seconds = gateway.limits.poll_seconds_min
    while not transfer.is_finalized and (left_seconds := deadline - time.monotonic()) > 0:
        await asyncio.sleep(min(pause_seconds, left_seconds))
        pause_seconds = min(2 * pause_seconds, gateway.limits.poll_seconds_max)
        transfer = await _poll(gateway, transfer, deadline=deadline)
    return transfer


async def find_by_key(gateway: Gateway, key: str) -> Transfer | None:
    """The user's transfer with this idempotency key, or None if none has arrived (yet).

    Raises:
        InvalidArgument: no transfer can have such a key.
    """
    params = {"idempotency_key": check_key(key), "limit": "1"}
    found = await gateway.send("GET", "/transfers", read.items, params=params)
    if not found:
        return None
    return read.convert(functools.partial(Transfer.read, idempotency_key=key), found[0])


class Submission:
    """One transfer being submitted. `deadline` (monotonic seconds) is until when to wait for its outcome."""

    def __init__(self, gateway: Gateway, path: str, body: Mapping[str, Any], *, key: str, wait_seconds: float) -> None:
        """Every attempt carries this key and this body, byte for byte.

        Raises:
            InvalidArgument: `wait_seconds` is negative or not a number.
        """
        if not wait_seconds >= 0:
            raise InvalidArgument(f"wait_seconds must be 0 or more, and is {wait_seconds}")
        self.deadline = 0.0
        self._gateway = gateway
        self._path = path
        self._body = body
        self._key = key
        self._request_id = str(uuid.uuid4())
        self._wait_seconds = wait_seconds
        self._maybe_done = False

    async def accept(self) -> Transfer:
        """The accepted transfer, with its outcome if that came within the wait.

        Raises:
            OutcomeUnknown: an attempt may have been carried out, and no transfer is found under the key.
            PayFlowError: the last error, when certainly no attempt was carried out.
        """
        try:
            return await self._send()
        except PayFlowError as error:
            if not self._maybe_done or _is_reused(error):
                raise
            found = None
            with contextlib.suppress(PayFlowError):
                found = await find_by_key(self._gateway, self._key)
            if found is None or not self._matches(found):
                raise OutcomeUnknown(self._key, reason=error, request_id=self._request_id) from error
            self.deadline = time.monotonic() + self._wait_seconds
            return found

    async def _send(self) -> Transfer:
        policy = RetryPolicy(self._gateway.limits)
        while True:
            try:
                return await self._send_once()
            except PayFlowError as error:
                self._maybe_done |= error.maybe_done
                await policy.pause(error)

    async def _send_once(self) -> Transfer:
        self.deadline = time.monotonic() + self._wait_seconds
        prefer_seconds = int(min(self._wait_seconds, PREFER_WAIT_SECONDS_MAX))
        headers = {"Idempotency-Key": self._key, "X-Request-Id": self._request_id}
        if prefer_seconds:
            headers["Prefer"] = f"wait={prefer_seconds}"
        response = await self._gateway.send_once(
            "POST",
            self._path,
            body=self._body,
            headers=headers,
            seconds=self._gateway.limits.response_seconds + prefer_seconds,
        )
        replayed = response.headers.get("Idempotent-Replayed") == "true"
        reader = functools.partial(Transfer.read, idempotency_key=self._key, replayed=replayed)
        return read.convert(reader, response.document)

    def _matches(self, found: Transfer) -> bool:
        # A key that the caller had used before leads to that other transfer, which must not be taken for this one.
        # Omitted fields are compared too where the transfer shows them, but not a wallet that the gateway chose.
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
        expected = exact | {name: value for name, value in chosen.items() if value is not None}
        return all(getattr(found, name) == value for name, value in expected.items())


async def _poll(gateway: Gateway, transfer: Transfer, *, deadline: float) -> Transfer:
    limits = gateway.limits
    seconds = min(max(deadline - time.monotonic(), limits.poll_seconds_min), limits.response_seconds)
    reader = functools.partial(Transfer.read, idempotency_key=transfer.idempotency_key, replayed=transfer.replayed)
    try:
        response = await gateway.send_once("GET", f"/transfers/{segment(transfer.id)}", seconds=seconds)
        return read.convert(reader, response.document)
    except PayFlowError:
        return transfer


def _is_reused(error: PayFlowError) -> bool:
    return isinstance(error, Problem) and error.code == KEY_REUSED
