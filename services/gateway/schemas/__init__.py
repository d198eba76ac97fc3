"""JSON in and out of the gateway. The same models check requests and write the OpenAPI document.

Requests refuse unknown fields. Responses list every field; they come from the upstream services and are passed through
without being validated again.
"""

from __future__ import annotations

from services.gateway.schemas import api_keys, auth, dead_letters, events, ops, system, transfers, types, wallets

__all__ = ["api_keys", "auth", "dead_letters", "events", "ops", "system", "transfers", "types", "wallets"]
