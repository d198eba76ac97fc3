"""The steps of a run: their order, and their expected duration."""

from __future__ import annotations

from tests.alerts import plan, table
from tests.alerts.silence import KILLS, QUIET

HOLD = 180.0
QUIET_SECONDS = 600.0
RUN_SECONDS_MAX = 55 * 60


def test_everything_fits_into_an_hour() -> None:
    """With every fault held for three minutes, a run has time to spare."""
    steps = plan.steps([], hold=HOLD, quiet=QUIET_SECONDS)

    assert plan.START_SECONDS + sum(step.seconds for step in steps) <= RUN_SECONDS_MAX
    assert table.proven() == {each.alert for step in steps for fault in step.wave for each in fault.proves}


def test_silence_follows_a_wave_that_affects_no_user() -> None:
    """The canary is unfunded only at the start, and later waves leave alerts that fire for an hour."""
    steps = plan.steps([], hold=HOLD, quiet=QUIET_SECONDS)

    assert table.UNFUNDED == steps[0].wave
    assert [QUIET, KILLS] == [step.name for step in steps[1:3]]
    assert all(step.wave for step in steps[3:])


def test_names_select_alerts_and_modes() -> None:
    """Names leave out all other faults; a mode alone injects none."""
    (only,) = plan.steps([KILLS], hold=HOLD, quiet=QUIET_SECONDS)
    assert (KILLS, ()) == (only.name, only.wave)

    mixed = plan.steps([QUIET, "RedisDown"], hold=HOLD, quiet=QUIET_SECONDS)
    assert [QUIET, "1 fault"] == [step.name for step in mixed]
    assert plan.proves(mixed, "RedisDown")
    assert not plan.proves(mixed, "PayflowCanaryNotFunded")


def test_a_hold_applies_to_the_faults_that_are_held() -> None:
    """A wave takes as long as its longest fault."""
    short, long = (
        plan.steps(["RedisDown", "CertificateExpiring"], hold=hold, quiet=QUIET_SECONDS) for hold in (0.0, HOLD)
    )

    assert short[0].seconds == long[0].seconds, "a certificate is not held"
    assert long[1].seconds - short[1].seconds == HOLD - plan.FIRE_SECONDS
