"""Pure rules: no database, no network, no clock."""

from services.auth.rules import emails, known_locations, probes, totp, user

__all__ = ["emails", "known_locations", "probes", "totp", "user"]
