"""Registers that another relay would give too, and that can be joined."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.nostr.filter import parse_filter
from gateway.nostr.hyperloglog import REGISTERS, HyperLogLog, hll_offset

ID = "0123456789abcdef" * 2 + "f" + "0" * 31


@pytest.mark.parametrize(
    ("asked", "offset"),
    [
        ({"#e": [ID]}, 23),
        ({"#p": [ID], "kinds": [3]}, 23),
        ({"#a": [f"30023:{ID}:some:name"]}, 23),
        ({"#t": ["x"]}, int(hashlib.sha256(b"x").hexdigest()[32], 16) + 8),
        ({"#p": [ID, "0" * 64]}, None),
        ({"#p": [ID], "#e": [ID]}, None),
        ({"kinds": [3]}, None),
        ({"#t": []}, None),
    ],
)
def test_the_offset_follows_from_the_one_tag_value(asked: dict[str, Any], offset: int | None) -> None:
    assert hll_offset(parse_filter(asked)) == offset


def test_a_register_keeps_the_longest_run_of_zeros_behind_the_byte_that_chose_it() -> None:
    made = HyperLogLog(8)
    for tail in ("01", "80", "00010000000000ff", "ff"):
        made.add(bytes.fromhex("00" * 8 + "2a" + tail.ljust(46, "0")))
    registers = bytes.fromhex(made.hex)
    assert len(registers) == REGISTERS
    assert {index: value for index, value in enumerate(registers) if value} == {0x2A: 16}
    made.add(bytes.fromhex("00" * 8 + "2b" + "00" * 23))
    assert bytes.fromhex(made.hex)[0x2B] == 57


KEYS = st.lists(st.binary(min_size=32, max_size=32), max_size=30)


def registers_of(keys: list[bytes]) -> bytes:
    made = HyperLogLog(9)
    for key in keys:
        made.add(key)
    return bytes.fromhex(made.hex)


@given(KEYS, KEYS)
def test_two_relays_registers_join_to_those_of_both(one: list[bytes], two: list[bytes]) -> None:
    joined = bytes(map(max, registers_of(one), registers_of(two)))
    assert joined == registers_of(one + two) == registers_of(two + one + one)
