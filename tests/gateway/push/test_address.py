"""Which addresses may be dialled for a stranger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.push.address import globally_routable, source_of


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255"),
        *("192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.0.8", "192.0.2.1"),
        *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255"),
        *("240.0.0.1", "255.255.255.255", "192.88.99.1"),
        *("::", "::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("::127.0.0.1", "::8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "2002:7f00:1::"),
        *("2002:808:808::1", "2001::1", "2001:0:4136:e378::1", "2001:db8::1", "2001:10::1", "2001:20::1", "100::1"),
        *("3fff::1", "4000::1", "2606:4700::1111%eth0", "fe80::1%1"),
        *("", "x", "1.2.3", "0x7f.1", "2130706433", "0177.0.0.1", "127.1", "[::1]", "8.8.8.8:443", " 8.8.8.8"),
    ],
)
def test_local_special_and_disguised_addresses_are_not_dialled(address: str) -> None:
    assert not globally_routable(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111"],
)
def test_public_addresses_are_dialled_and_wrapped_ones_count_as_what_they_hold(address: str) -> None:
    assert globally_routable(address)


@given(st.ip_addresses(v=4))
def test_no_address_that_python_calls_private_is_dialled(address: object) -> None:
    if not getattr(address, "is_global"):  # noqa: B009
        assert not globally_routable(str(address))


@given(st.ip_addresses(v=6))
def test_no_v6_address_that_python_calls_private_is_dialled(address: object) -> None:
    if not address.is_global and address.ipv4_mapped is None:  # type: ignore[attr-defined]
        assert not globally_routable(str(address))


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    assert globally_routable(text) in (True, False)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::4", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not:an:address", "not:an:address"),
        ("", ""),
    ],
)
def test_a_source_is_an_address_and_of_ipv6_its_network(address: str, source: str) -> None:
    assert source_of(address) == source
