"""A frame is one CBOR item with fixed widths; whatever is not one is refused before anything is made of it."""

import struct
from zlib import crc32

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog import frame
from eventlog.errors import Corrupt, Torn
from eventlog.frame import HEAD_BYTES, MAGIC
from eventlog.limits import FRAME_RECORDS_MAX
from eventlog.merkle import Tree
from eventlog.record import encode
from tests.eventlog.logs import draft

SALT = 0x01020304


def make(first_seq: int = 5, count: int = 3, size: int = 20, epoch: int = 2) -> bytes:
    encoded = encode([draft(n, size) for n in range(count)])
    tree = Tree()
    tree.extend(encoded.leaves)
    return frame.encode(encoded.stored, first_seq=first_seq, time_ns=9, epoch=epoch, root=tree.root(), salt=SALT)


def test_golden_bytes_of_version_1() -> None:
    stored = encode([draft(0, 2)]).stored
    found = frame.encode(stored, first_seq=1, time_ns=2, epoch=3, root=b"\x11" * 32, salt=SALT)
    body = "5a00000004" + f"{len(stored[0]):08x}" + "990001" + stored[0].hex()
    head = (
        "835850" + b"EVLF".hex() + "01" + "00" + "0001" + f"{len(body) // 2:08x}" + "00000000"
        "0000000000000001" + "0000000000000002" + "0000000000000003" + "11" * 32
    )
    head += f"{crc32(bytes.fromhex(body), SALT):08x}"
    assert found.hex() == head + f"{crc32(bytes.fromhex(head), SALT):08x}" + body


def test_plain_cbor_reads_it() -> None:
    data = make(count=4)
    head, offsets, records = cbor2.loads(data)
    assert len(head) == 80
    assert len(struct.unpack(">4I", offsets)) == 4
    assert [fields[5] for fields in records] == [draft(n).payload for n in range(4)]


def test_records_are_sliced_or_decoded_alike() -> None:
    found = frame.decode(make(count=7), 0, SALT)
    assert found.slices() == encode([draft(n) for n in range(7)]).stored
    assert [record.seq for record in found.records()] == list(range(5, 12))
    assert [record.payload for record in found.records()] == [draft(n).payload for n in range(7)]
    assert found.leaves() == encode([draft(n) for n in range(7)]).leaves
    assert found.head.end_seq == 12
    assert found.raw() == make(count=7)


def test_every_flipped_bit_is_found() -> None:
    data = make(count=2)
    for at in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            with pytest.raises(Corrupt):
                frame.decode(bytes(flipped), 0, SALT)


def test_every_cut_is_torn() -> None:
    data = make(count=2)
    for size in range(len(data)):
        with pytest.raises(Torn):
            frame.decode(data[:size], 0, SALT)


def test_another_logs_frame_is_none_of_ours() -> None:
    with pytest.raises(Corrupt, match="CRC"):
        frame.decode(make(), 0, SALT + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [(">B", 2), (">xB", 1), (">2xH", 0), (">2xH", FRAME_RECORDS_MAX + 1), (">4xI", 2**32 - 1), (">8xI", 1)],
)
def test_a_head_out_of_bounds_is_refused_though_its_crc_is_right(field: str, value: int) -> None:
    head = bytearray(make()[:HEAD_BYTES])
    at = 7 + struct.calcsize(field) - struct.calcsize(field[-1])
    struct.pack_into(f">{field[-1]}", head, at, value)
    struct.pack_into(">I", head, HEAD_BYTES - 4, crc32(bytes(head[:-4]), SALT))
    with pytest.raises(Corrupt, match=r"not known|out of bounds"):
        frame.decode(bytes(head), 0, SALT)


@given(st.integers(1, 5), st.binary(max_size=200), st.booleans())
def test_split_takes_whole_frames_and_says_what_stopped_it(count: int, rest: bytes, magic: bool) -> None:
    row = b"".join(make(first_seq=n) for n in range(count))
    found = frame.split(row + (MAGIC if magic else b"") + rest, SALT)
    assert [one.head.first_seq for one in found.frames] == list(range(count))
    assert found.used == len(row)
    assert (found.flaw is None) == (not rest and not magic)


def test_search_finds_a_later_frame_and_no_imitation() -> None:
    forged = frame.encode(
        encode([draft(1)]).stored, first_seq=99, time_ns=0, epoch=0, root=bytes(32), salt=0
    )  # whoever sends payloads does not know the salt
    noise = b"\x00" * 11 + forged + MAGIC + b"\x01"
    assert frame.search(noise, 0, SALT, 0) is None
    assert frame.search(noise + make(first_seq=9), 0, SALT, 8) == len(noise)
    assert frame.search(noise + make(first_seq=9), 0, SALT, 9) is None


def test_an_array_that_contradicts_the_head_is_corrupt() -> None:
    data = bytearray(make(count=2))
    data[HEAD_BYTES + 4] = 12  # one offset more than records
    struct.pack_into(">I", data, HEAD_BYTES - 8, crc32(bytes(data[HEAD_BYTES:]), SALT))
    struct.pack_into(">I", data, HEAD_BYTES - 4, crc32(bytes(data[: HEAD_BYTES - 4]), SALT))
    with pytest.raises(Corrupt, match="contradicts"):
        frame.decode(bytes(data), 0, SALT)
