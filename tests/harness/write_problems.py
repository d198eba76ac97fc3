"""`make problems`: write docs/problems.md from the codes that the gateway documents."""

from __future__ import annotations

from pathlib import Path

from services.gateway import api, openapi
from services.gateway.api import OPERATIONS

DOCUMENT = Path(__file__).parents[2] / "docs" / "problems.md"

_HEAD = """\
# Problems

Every error is `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). Decide by `code`: it is
stable. `detail` is for humans, `errors` names every invalid field at once, `request_id` identifies the log lines. The same list
for machines is `x-problem-catalogue` of `/api/v1/openapi.json`, where each operation lists the codes that it may return.

**A retry helps** if the same request may succeed later: wait for `Retry-After` if it is given, and repeat the same
`Idempotency-Key` if money moves. Otherwise the response stays the same until the request or the state changes.

This page is written by `make problems` from the code; a test compares them.

| code | status | what it means | a retry helps |
|---|---|---|---|
"""


def page() -> str:
    """The expected content of the page."""
    catalogue = openapi.catalogue((*OPERATIONS, *api.reference.HEALTH))
    return _HEAD + "".join(
        f"| `{each['code']}` | {each['status']} | {each['title']} | {'yes' if each['retry_helps'] else 'no'} |\n"
        for each in catalogue
    )


if __name__ == "__main__":
    DOCUMENT.write_text(page())
