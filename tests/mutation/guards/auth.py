"""The guards of who somebody is: a token of a letter opens once."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

QUERIES = "services/auth/sql/queries_letters.sql"

LETTERS = "tests/integration/auth/test_letters.py"
WORKS = f"{LETTERS}::test_registering_writes_a_letter_that_verifies"

MUTANTS = (
    Mutant(
        name="letter-token-spent-twice",
        guard="the token of a letter is used up by its first use",
        changes=[
            Change(
                QUERIES,
                "UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL\n"
                "WHERE token_hash = $1 AND kind = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()\n",
                "UPDATE letters SET ended_at = clock_timestamp(), ended_as = 'spent', token_sealed = NULL\n"
                "WHERE token_hash = $1 AND kind = $2 AND expires_at > clock_timestamp()\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{LETTERS}::test_a_token_is_spent_once", f"{LETTERS}::test_a_verification_is_spent_once"],
    ),
)
