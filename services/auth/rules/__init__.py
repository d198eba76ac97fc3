"""Pure rules: no database, no network, no clock of their own."""

from services.auth.rules import emails, known_locations, totp, user

__all__ = ["emails", "known_locations", "totp", "user"]
