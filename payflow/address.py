"""The address of a gateway."""

from __future__ import annotations

from urllib.parse import urlsplit

from payflow.errors import Misconfigured


def parse_address(text: str) -> str:
    """The address in its normal form: scheme and host in lower case, no slash at the end.

    Raises:
        Misconfigured: it is not an address like `http://host:port`.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or port == 0
        or set("?#") & set(text)
    ):
        raise Misconfigured(f"{text!r} is not the address of a gateway; one looks like http://127.0.0.1:8000")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
