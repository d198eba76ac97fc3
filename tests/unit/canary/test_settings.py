"""Settings of the canary."""

from __future__ import annotations

import base64

import pytest

from services.canary.settings import CanarySettings
from services.chassis.settings import BadConfiguration, load


@pytest.mark.parametrize(("seconds", "good"), [("5", True), ("60", True), ("61", False), ("0", False), ("nan", False)])
def test_a_pause_is_shorter_than_the_alert(monkeypatch: pytest.MonkeyPatch, seconds: str, good: bool) -> None:
    """An alert fires after two minutes without a payment: with a longer pause it would fire all the time."""
    monkeypatch.setenv("PAYFLOW_SERVICE_KEY", base64.b64encode(bytes(range(32))).decode())
    monkeypatch.setenv("PAYFLOW_SERVICE_PUBLIC_KEYS", "{}")
    monkeypatch.setenv("PAYFLOW_GATEWAY_URL", "http://gateway:8000")
    monkeypatch.setenv("PAYFLOW_CANARY_SECRET", "kEu2-Zb9w_tQ4xHc8-Vn1r_Lm6yPd3-Gs5j")
    monkeypatch.setenv("PAYFLOW_CANARY_EVERY_SECONDS", seconds)
    if good:
        assert float(seconds) == load(CanarySettings).canary_every_seconds
    else:
        with pytest.raises(BadConfiguration, match="PAYFLOW_CANARY_EVERY_SECONDS"):
            load(CanarySettings)
