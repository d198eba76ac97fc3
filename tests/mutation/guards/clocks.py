"""The guards of service tokens when clocks differ."""

from __future__ import annotations

from tests.mutation.mutant import Change, Mutant

TOKENS = "services/chassis/service_tokens.py"
CLIENT = "services/chassis/client.py"

RULES = "tests/unit/chassis/test_service_tokens.py"
CLOCKS = "tests/integration/wallet/test_clocks.py"
WORKS = f"{RULES}::test_each_callee_has_its_own_time"

MUTANTS = (
    Mutant(
        name="times-checked-once",
        guard="the times of a cached service token are checked at every use",
        changes=[
            Change(
                TOKENS,
                "        verified = self._seen.get(token) or self._verify(token)\n",
                "        if token in self._seen:\n"
                "            return self._seen[token].caller\n"
                "        verified = self._verify(token)\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{RULES}::test_times_of_a_cached_token_are_checked_again"],
    ),
    Mutant(
        name="time-sent-to-unverified-callers",
        guard="the time is sent only to callers with a genuine token",
        changes=[
            Change(
                TOKENS,
                "        if verified is None:\n            return None\n        now = self.clock()\n",
                "        if verified is None:\n            raise TokenClockSkew(extra={NOW: self.clock()})\n"
                "        now = self.clock()\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{RULES}::test_only_refusals_for_times_contain_the_time"],
    ),
    Mutant(
        name="upstream-time-passed-on",
        guard="a refusal because of the time is never passed on to our own caller",
        changes=[
            Change(
                CLIENT,
                'raise UpstreamUnavailable(f"the {self.name} service disagrees on the time") from None\n',
                "raise\n",
            )
        ],
        works=WORKS,
        caught_by=[f"{CLOCKS}::test_repeated_refusals_for_the_time_mean_unavailable"],
    ),
)
