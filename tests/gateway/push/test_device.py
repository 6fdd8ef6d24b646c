"""A device is a value."""

import pytest

from gateway.push.device import Device


def test_a_device_never_changes_its_kind() -> None:
    device = Device("t", "fid", "ios", "")
    with pytest.raises(AttributeError):
        device.target_kind = "token"  # type: ignore[misc]
    assert device != Device("t", "token", "ios", "")
