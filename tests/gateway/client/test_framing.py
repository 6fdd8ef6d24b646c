"""Where a frame's payload begins and ends; `test_bulk` holds what is made of it against websockets' protocol."""

import pytest
from websockets.frames import Frame, Opcode

from gateway.client.framing import WHOLE_TEXT, frame_at

BYTES_MAX = 70_000


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, BYTES_MAX])
def test_a_frames_payload_is_found_once_the_last_of_it_is_here(size: int) -> None:
    data = b"x" * size
    wire = bytearray(b"before" + Frame(Opcode.TEXT, data).serialize(mask=False))
    assert wire[6] == WHOLE_TEXT
    for end in [*range(6, min(len(wire), 20)), len(wire) - 1]:
        assert frame_at(wire[:end], 6, BYTES_MAX) is None
    found = frame_at(wire + b"behind", 6, BYTES_MAX)
    assert found is not None
    assert wire[slice(*found)] == data
    assert found[1] == len(wire)


@pytest.mark.parametrize(
    "wire",
    [
        Frame(Opcode.TEXT, b"masked").serialize(mask=True),
        Frame(Opcode.TEXT, b"x" * (BYTES_MAX + 1)).serialize(mask=False),
    ],
    ids=["masked", "too long"],
)
def test_a_frame_with_a_flaw_is_all_that_is_here(wire: bytes) -> None:
    assert frame_at(bytearray(b"before" + wire), 6, BYTES_MAX) == (6, 6 + len(wire))
    assert frame_at(bytearray(wire[:20]), 0, BYTES_MAX) in ((0, 20), (0, len(wire)))
