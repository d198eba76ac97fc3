"""The audit log: who did what to whom in which request, written in the commit of the action."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis import tracing
from services.chassis.database import Connection
from services.chassis.statements import Statements
from services.contracts.identifiers import new_id

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "audit.sql")


class Action(StrEnum):
    """Actions in the audit log."""

    USER_REGISTERED = "user_registered"
    LOGIN_SUCCEEDED = "login_succeeded"
    LOGIN_FAILED = "login_failed"
    REFRESH_REUSED = "refresh_reused"
    LOGGED_OUT = "logged_out"
    ROLE_GRANTED = "role_granted"
    VERIFICATION_REQUESTED = "verification_requested"
    EMAIL_VERIFIED = "email_verified"
    PASSWORD_RESET_REQUESTED = "password_reset_requested"  # noqa: S105 - the name of an action
    PASSWORD_RESET = "password_reset"  # noqa: S105 - the name of an action
    PROOF_FAILED = "proof_failed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - the name of an action
    SESSION_REVOKED = "session_revoked"
    SESSIONS_REVOKED = "sessions_revoked"
    TOTP_STARTED = "totp_started"
    TOTP_CONFIRMED = "totp_confirmed"
    TOTP_REMOVED = "totp_removed"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    RECOVERY_CODE_USED = "recovery_code_used"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    KEY_ROTATED = "key_rotated"
    KEY_RETIRED = "key_retired"
    API_KEY_CREATED = "api_key_created"
    API_KEY_REVOKED = "api_key_revoked"
    API_KEY_USED = "api_key_used"


class Audit(NamedTuple):
    """An entry of the audit log. `actor_id` is None for an unknown actor and for the command line."""

    action: Action
    actor_id: UUID | None
    user_id: UUID | None
    detail: Mapping[str, str] = {}


async def record(connection: Connection, audit: Audit) -> None:
    """Append an entry; it is kept if and only if the transaction commits."""
    await connection.execute(
        statements.insert_audit,
        new_id(),
        audit.action.value,
        audit.actor_id,
        audit.user_id,
        json.dumps(dict(audit.detail)),
        tracing.request_id(),
    )
