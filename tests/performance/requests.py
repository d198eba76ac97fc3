"""The bytes of requests, joined by the load generators instead of being built by a client library. Pure."""

from __future__ import annotations

TRANSFER = b'{"amount":1,"currency":"USD","to":{"wallet_id":"%b"}}'
"""One minor unit to a wallet; ids have one length, so that the content has one too."""

LENGTH = len(TRANSFER % (b"-" * 36))


def get(host: str, token: str, path: str) -> bytes:
    """A GET below /api/v1."""
    return f"GET /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def transfer_head(host: str, token: str) -> bytes:
    """POST /transfers up to the value of the idempotency key."""
    return (
        f"POST /api/v1/transfers HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {LENGTH}\r\nIdempotency-Key: "
    ).encode()


def transfer(head: bytes, key: bytes, to_wallet: bytes) -> bytes:
    """POST /transfers of one minor unit."""
    return b"".join((head, key, b"\r\n\r\n", TRANSFER % to_wallet))
