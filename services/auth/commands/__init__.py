"""What changes or reads the database: one transaction per function."""

from services.auth.commands import (
    accounts,
    api_keys,
    emails,
    known_locations,
    passwords,
    proofs,
    sessions,
    signing_keys,
    totp,
    users,
)

__all__ = [
    "accounts",
    "api_keys",
    "emails",
    "known_locations",
    "passwords",
    "proofs",
    "sessions",
    "signing_keys",
    "totp",
    "users",
]
