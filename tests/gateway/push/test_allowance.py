"""What FCM allows a device, and a tenant that it refuses."""

import pytest

from gateway.limits.push import DEVICE_PER_HOUR, DEVICE_PER_MINUTE
from gateway.push import allowance
from gateway.push.allowance import Allowance


def test_a_device_may_have_a_minutes_worth_at_once_and_an_hours_worth_in_all() -> None:
    allowed, now_s, taken = Allowance(), 0.0, 0
    assert [allowed.wait_s(1, 0.0) for _ in range(DEVICE_PER_MINUTE)] == [0.0] * DEVICE_PER_MINUTE
    assert allowed.wait_s(1, 0.0) == 61.0
    assert allowed.wait_s(2, 0.0) == 0.0, "another device has its own"
    taken = DEVICE_PER_MINUTE
    while taken < DEVICE_PER_HOUR:
        now_s += 61
        while taken < DEVICE_PER_HOUR and not allowed.wait_s(1, now_s):
            taken += 1
    assert now_s < 3_600 - 61
    assert allowed.wait_s(1, now_s + 61) > 61


def test_refusals_beyond_a_minutes_worth_are_waited_for_and_those_of_another_lane_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allowance, "TENANT_ERRORS_PER_MINUTE", 60)
    allowed, lane, other = Allowance(), ("evil", "p"), ("evil", "q")
    assert [allowed.refused(lane, 1000.0) for _ in range(60)] == [0.0] * 60
    assert [allowed.refused(lane, 1000.0) for _ in range(2)] == [1.0, 2.0]
    assert allowed.refused(other, 1000.0) == 0.0
    assert allowed.refused(lane, 1003.0) == 0.0, "paid for meanwhile"
    assert [allowed.refused(lane, 9000.0) for _ in range(61)][-1] == 1.0, "quiet minutes are not saved up"
