"""Limits that several services share: lengths of texts, sizes of lists, lifetimes of tokens."""

PAGE_DEFAULT = 50
PAGE_MAX = 200
"""Items of one page of a list."""

ITEMS_MAX = 1024
"""Items of one internal request to post, void or accept transfers."""

DESCRIPTION_LENGTH_MAX = 140
IDEMPOTENCY_KEY_LENGTH_MAX = 255
REQUEST_ID_LENGTH_MAX = 64
NAME_LENGTH_MAX = 100
EMAIL_LENGTH_MAX = 254
PASSWORD_LENGTH_MIN = 8
PASSWORD_LENGTH_MAX = 200
TOTP_CODE_LENGTH_MAX = 40
EMAIL_TOKEN_LENGTH_MAX = 200
USER_AGENT_LENGTH_MAX = 120
DISABLE_REASON_LENGTH_MAX = 200
ADMISSION_REASON_LENGTH_MAX = 500
"""The reason for disabling a user."""

DISCARD_REASON_LENGTH_MAX = 500
"""The reason for discarding a dead letter."""

BIGINT_MAX = 2**63 - 1
"""The largest value of a `bigint` column."""

ACCESS_TOKEN_SECONDS = 600
REFRESH_TOKEN_SECONDS = 30 * 24 * 3600
"""Lifetime of a refresh token; each use issues a new one."""

VERIFY_EMAIL_SECONDS = 24 * 3600
RESET_PASSWORD_SECONDS = 30 * 60
"""Lifetimes of the tokens in e-mails."""

PREFER_WAIT_SECONDS_MAX = 30
"""The longest wait for the outcome of a transfer (`Prefer: wait`)."""

TOO_MANY_LOGINS_RETRY_SECONDS = range(2, 7)
"""When to retry a rejected password check, chosen at random: otherwise clients rejected together would retry together."""
