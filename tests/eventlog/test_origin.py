"""A log's identity is written once and read the same for ever."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import Corrupt
from eventlog.origin import Origin, decode, encode

ORIGIN = Origin("log.example", 5, b"\x01" * 32, 7)


BODY = cbor2.dumps(["heliograph-log", 1, "log.example", 5, b"\x01" * 32, 7])


def test_golden_bytes_of_version_1() -> None:
    assert encode(ORIGIN).hex() == BODY.hex() + "1aa41aeac1"
    assert encode(ORIGIN).hex().startswith("866e68656c696f67726170682d6c6f67016b6c6f672e6578616d706c65055820")
    assert decode(encode(ORIGIN)) == ORIGIN


def test_the_first_releases_origin_without_a_crc_is_read() -> None:
    assert decode(BODY) == ORIGIN


@pytest.mark.parametrize("form", [encode(ORIGIN), encode(Origin("a", 1 << 62, bytes(range(32)), 0xFFFF_FFFF))])
def test_every_flipped_bit_is_found(form: bytes) -> None:
    for bit in range(8 * len(form)):
        changed = bytearray(form)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            decode(bytes(changed))


@pytest.mark.parametrize("name", ["", "with space", "a+b", "line\nbreak", "x" * 256])
def test_a_name_that_no_note_could_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a log"):
        encode(Origin(name, 0, bytes(32), 0))


@given(st.binary(max_size=100))
def test_any_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        decode(data)


@pytest.mark.parametrize("fields", [["a", 5, b"\x01" * 31, 7], ["a", 5, b"\x01" * 32, -1], ["a", 5], ["a", "b", 1, 2]])
def test_fields_out_of_bounds_are_corrupt(fields: list[object]) -> None:
    with pytest.raises(Corrupt):
        decode(cbor2.dumps(["heliograph-log", 1, *fields]))
