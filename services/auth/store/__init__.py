"""One typed function per statement; the caller's connection comes first."""

from services.auth.store import accounts, api_keys, emails, known_locations, sessions, signing_keys, totp, users

__all__ = ["accounts", "api_keys", "emails", "known_locations", "sessions", "signing_keys", "totp", "users"]
