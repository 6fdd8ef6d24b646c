"""A tenant's quota: the configuration's for all, or its own."""

from gateway.config import Instance, Push
from gateway.push.quota import quota


def test_an_instance_has_its_own_limits_where_the_operator_gave_some_and_everybodys_where_not() -> None:
    push = Push(rate_per_instance=10, notifications_per_day=5)
    everybody, own = quota(push), quota(push, Instance(notifications_per_day=7, devices_per_user_max=2))
    assert (everybody.requests_per_minute, everybody.notifications_per_day) == (10, 5)
    assert (own.requests_per_minute, own.notifications_per_day, own.devices_per_user_max) == (10, 7, 2)
    assert own.queued_max == everybody.queued_max == push.queued_per_tenant_max
    assert everybody.notifications_per_minute == 0
