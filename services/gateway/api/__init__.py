"""The operations of the public API: one module per resource."""

from __future__ import annotations

from services.gateway.api import (
    api_keys,
    audit,
    auth,
    dead_letters,
    emails,
    events,
    notifications,
    ops,
    recipients,
    reference,
    search,
    sessions,
    signing_keys,
    totp,
    transfers,
    users,
    wallets,
)

OPERATIONS = (
    *auth.OPERATIONS,
    *api_keys.OPERATIONS,
    *emails.OPERATIONS,
    *sessions.OPERATIONS,
    *totp.OPERATIONS,
    *wallets.OPERATIONS,
    *recipients.OPERATIONS,
    *transfers.OPERATIONS,
    *notifications.OPERATIONS,
    *events.OPERATIONS,
    *ops.OPERATIONS,
    *search.OPERATIONS,
    *audit.OPERATIONS,
    *dead_letters.OPERATIONS,
    *users.OPERATIONS,
    *signing_keys.OPERATIONS,
    *reference.OPERATIONS,
)
"""Every operation of the public API."""
