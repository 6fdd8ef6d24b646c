"""Times as JavaScript writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PushRefused
from gateway.push.instant import instant_ms, instant_text
from tests.takos import iso


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2025-11-14T13:27:52.123Z", 1_763_126_872_123),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_an_instant_is_read_to_the_millisecond(text: str, ms: int) -> None:
    assert instant_ms(text, "issuedAt") == ms


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2025-11-14", "2025-11-14T13:27:52Z", "2025-11-14T13:27:52.1234Z", "2025-11-14T13:27:52.123"),
        *("2025-11-14T13:27:52.123+09:00", "2025-11-14 13:27:52.123Z", "2025-11-14T23:59:60.000Z"),
        *("2025-02-30T00:00:00.000Z", "2025-11-14T24:00:00.000Z", "0000-01-01T00:00:00.000Z", "1763126872123"),
        "２０２５-11-14T13:27:52.123Z",
    ],
)
def test_other_zones_precisions_and_impossible_times_are_refused(text: str) -> None:
    with pytest.raises(PushRefused) as refused:
        instant_ms(text, "issuedAt")
    assert (refused.value.status, refused.value.code) == (400, "invalid-field")


@pytest.mark.parametrize("text", ["2025-11-14T13:27:52Z", "2025-11-14T13:27:52.000000Z", "2025-11-14T13:27:52.0Z"])
def test_a_loose_time_has_any_number_of_decimals(text: str) -> None:
    assert instant_ms(text, "created_at", loose=True) == 1_763_126_872_000


@given(st.integers(0, 253_402_300_799_999))
def test_what_is_written_is_read_back(ms: int) -> None:
    assert instant_ms(instant_text(ms), "x") == ms
    assert instant_text(ms) == iso(ms)
