"""The guards of access that depend on time: what ended is not forgotten too early, and what expired is not accepted."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

EMAIL_QUERIES = "services/auth/sql/queries/emails.sql"
TOTP_RULES = "services/auth/rules/totp.py"

PERIODS = "tests/unit/test_periods.py"
TOTP = "tests/unit/auth/test_totp.py"
TOKEN_TIMES = "tests/unit/gateway/test_token_times.py"
EMAIL_TOKENS = "tests/integration/auth/test_email_tokens.py"
FEED = "tests/integration/auth/test_revocation_feed.py"
EMAILS = "tests/integration/auth/test_emails.py"
WORKS = f"{PERIODS}::test_a_process_ends_before_it_is_killed"
LOOKED_UP = "WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp();"
SPENT = "WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()\nRETURNING id"

MUTANTS = (
    Mutant(
        name="revocation-forgotten-too-early",
        guard="a gateway remembers a revocation for as long as an access token of it can be valid",
        changes=[Change("services/gateway/security/revocations.py", "KEPT_SECONDS = 900.0", "KEPT_SECONDS = 60.0")],
        works=WORKS,
        caught_by=[f"{PERIODS}::test_revocations_are_remembered_while_tokens_are_valid"],
    ),
    Mutant(
        name="revocation-listed-too-briefly",
        guard="the feed lists a revocation for as long as an access token of it can be valid",
        changes=[
            Change(
                "services/auth/commands/sessions.py",
                "REVOCATIONS_SECONDS = limits.ACCESS_TOKEN_SECONDS + 60.0",
                "REVOCATIONS_SECONDS = 60.0",
            )
        ],
        works="tests/integration/auth/test_sessions.py::test_feed_drops_revocations_that_no_token_outlives",
        caught_by=[f"{FEED}::test_a_revocation_is_listed_while_a_token_can_be_valid"],
    ),
    Mutant(
        name="token-valid-for-longer",
        guard="the gateway accepts no access token with a longer lifetime than those that auth issues",
        changes=[
            Change(
                "services/gateway/security/authentication.py",
                "issued_at + limits.ACCESS_TOKEN_SECONDS",
                "issued_at + 10 * limits.ACCESS_TOKEN_SECONDS",
            )
        ],
        works=f"{TOKEN_TIMES}::test_validity_has_fractions_of_a_second",
        caught_by=[f"{TOKEN_TIMES}::test_token_validity_period"],
    ),
    Mutant(
        name="token-of-any-kind",
        guard="the token of an e-mail is valid for its kind alone",
        changes=[
            Change(EMAIL_QUERIES, LOOKED_UP, LOOKED_UP.replace("kind = $2", "$2::text IS NOT NULL")),
            Change(EMAIL_QUERIES, SPENT, SPENT.replace("kind = $2", "$2::text IS NOT NULL")),
        ],
        works=f"{EMAILS}::test_registration_sends_a_token_that_verifies_the_address",
        caught_by=[f"{EMAIL_TOKENS}::test_a_token_is_valid_for_its_kind_alone"],
    ),
    Mutant(
        name="expired-token-is-spent",
        guard="an expired token of an e-mail is not spent",
        changes=[Change(EMAIL_QUERIES, SPENT, SPENT.replace(" AND expires_at > clock_timestamp()", ""))],
        works=f"{EMAILS}::test_registration_sends_a_token_that_verifies_the_address",
        caught_by=[f"{EMAIL_TOKENS}::test_the_spending_statement_checks_the_age"],
    ),
    Mutant(
        name="codes-accepted-for-longer",
        guard="a code of the second factor is accepted one step early and one step late, not longer",
        changes=[Change(TOTP_RULES, "WINDOW_STEPS = 1\n", "WINDOW_STEPS = 2\n")],
        works=f"{TOTP}::test_codes_are_those_of_the_rfc",
        caught_by=[f"{TOTP}::test_a_code_is_accepted_one_step_early_and_one_step_late"],
    ),
)
