"""Steps of a command, inside the transaction of the command."""

from services.auth.actions import access, api_keys, arrivals, audit, operators, outgoing, second_factor, sessions

__all__ = ["access", "api_keys", "arrivals", "audit", "operators", "outgoing", "second_factor", "sessions"]
