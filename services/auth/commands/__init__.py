"""Commands: one database transaction each, opened here and nowhere else."""

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
