"""The filter passes whatever was added, seldom what was not, and is the same once it was written and read."""

from hashlib import sha256

import pytest

from eventlog.bloom import Bloom, asks


def keys(start: int, count: int) -> list[bytes]:
    return [sha256(number.to_bytes(8, "big")).digest() for number in range(start, start + count)]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 64, 65, 1000])
def test_what_was_added_passes_and_hardly_anything_else_does(count: int) -> None:
    bloom, there, others = Bloom(count), keys(0, count), keys(10**6, 3000)
    bloom.add(there)
    assert bloom.passing(asks(there)) == there
    assert len(bloom.passing(asks(others))) <= len(others) / 50
    again = Bloom.load(b"".join(bloom.parts(16)))
    assert again.passing(asks([*there, *others])) == bloom.passing(asks([*there, *others]))
