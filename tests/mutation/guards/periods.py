"""The guards of access that depend on time: what ended is not forgotten too early, and what expired is not accepted."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

LETTER_QUERIES = "services/auth/sql/queries/emails.sql"
TOTP_RULES = "services/auth/rules/totp.py"

PERIODS = "tests/unit/test_periods.py"
TOTP = "tests/unit/auth/test_totp.py"
TOKEN_TIMES = "tests/unit/gateway/test_token_times.py"
EMAIL_TOKENS = "tests/integration/auth/test_email_tokens.py"
FEED = "tests/integration/auth/test_revocation_feed.py"
LETTERS = "tests/integration/auth/test_letters.py"
WORKS = f"{PERIODS}::test_a_process_ends_before_it_is_killed"
LOOKED_UP = "WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp();"
SPENT = "WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()\nRETURNING id"

MUTANTS = (
    Mutant(
        name="end-forgotten-too-early",
        guard="a gateway remembers what was revoked for as long as an access token of it may live",
        changes=[
            Change("services/gateway/security/revocations.py", "REMEMBER_SECONDS = 900.0", "REMEMBER_SECONDS = 60.0")
        ],
        works=WORKS,
        caught_by=[f"{PERIODS}::test_an_end_is_remembered_for_as_long_as_a_token_lives"],
    ),
    Mutant(
        name="end-told-too-briefly",
        guard="the feed tells of what was revoked for as long as an access token of it may live",
        changes=[
            Change(
                "services/auth/commands/accounts.py",
                "REVOCATIONS_SECONDS = tokens.ACCESS_SECONDS + 60.0",
                "REVOCATIONS_SECONDS = 60.0",
            )
        ],
        works="tests/integration/auth/test_sessions.py::test_feed_forgets_what_no_access_token_outlives",
        caught_by=[f"{FEED}::test_an_end_is_told_while_a_token_may_live"],
    ),
    Mutant(
        name="token-lives-longer",
        guard="the gateway accepts no access token that lives longer than those that auth issues",
        changes=[
            Change(
                "services/gateway/security/authentication.py",
                "LIFETIME_SECONDS_MAX = 600\n",
                "LIFETIME_SECONDS_MAX = 6000\n",
            )
        ],
        works=f"{TOKEN_TIMES}::test_a_fraction_of_a_second_is_still_life",
        caught_by=[f"{TOKEN_TIMES}::test_a_token_lives_from_its_beginning_to_its_end"],
    ),
    Mutant(
        name="token-of-any-kind",
        guard="the token of an e-mail is good for what that e-mail is for, and for nothing else",
        changes=[
            Change(LETTER_QUERIES, LOOKED_UP, LOOKED_UP.replace("kind = $2", "$2::text IS NOT NULL")),
            Change(LETTER_QUERIES, SPENT, SPENT.replace("kind = $2", "$2::text IS NOT NULL")),
        ],
        works=f"{LETTERS}::test_registering_writes_a_letter_that_verifies",
        caught_by=[f"{EMAIL_TOKENS}::test_a_token_is_good_for_its_kind_alone"],
    ),
    Mutant(
        name="expired-token-is-spent",
        guard="the token of an e-mail that has expired is not spent",
        changes=[Change(LETTER_QUERIES, SPENT, SPENT.replace(" AND expires_at > clock_timestamp()", ""))],
        works=f"{LETTERS}::test_registering_writes_a_letter_that_verifies",
        caught_by=[f"{EMAIL_TOKENS}::test_the_spending_statement_checks_the_age"],
    ),
    Mutant(
        name="codes-count-for-longer",
        guard="a code of the second factor counts one step early and one step late, not longer",
        changes=[Change(TOTP_RULES, "WINDOW_STEPS = 1\n", "WINDOW_STEPS = 2\n")],
        works=f"{TOTP}::test_codes_are_those_of_the_rfc",
        caught_by=[f"{TOTP}::test_a_code_counts_one_step_early_and_one_step_late"],
    ),
)
