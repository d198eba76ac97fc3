"""One typed function per statement, on the connection of the caller."""

from services.auth.store import accounts, api_keys, emails, known_locations, sessions, signing_keys, totp, users

__all__ = ["accounts", "api_keys", "emails", "known_locations", "sessions", "signing_keys", "totp", "users"]
