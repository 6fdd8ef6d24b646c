"""The parsers of the log: what stands on a disk is somebody else's word too."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventlog import checkpoint, frame, record, segment
from eventlog.errors import Corrupt
from tests.fuzz.target import Target

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
SALT = 0x5EED
DRAFTS = (
    record.Draft("push.answered", b"\x83\x01\x02\x03", 1_763_818_354_133_000_000),
    record.Draft("nostr.stored", b"x" * 300, 7, b"s" * 16, 2),
    record.Draft("mirror.stored", b"", 2**40, b"t" * 32),
)
STORED = tuple(record.encode(DRAFTS).stored)
FRAMES = tuple(
    frame.encode(STORED[:count] * times, first_seq=seq, time_ns=5, epoch=1, root=b"r" * 32, salt=SALT)
    for count, times, seq in ((1, 1, 0), (3, 1, 9), (2, 20, 2**33))
)
HEADS = tuple(
    segment.encode_head(segment.Head("example.org/log", seq, 5, 1, SALT, tuple(b"h" * 32 for _ in range(bits))))
    for seq, bits in ((0, 0), (1, 1), (7, 3), (2**40 - 1, 40))
)
SIGNED = tuple(checkpoint.Checkpoint("example.org/log", size, b"\x09" * 32) for size in (0, 1, 10**12))
NOTES = tuple(checkpoint.sign(each, KEY) for each in SIGNED)


def one_record(data: bytes) -> object:
    return record.decode(3, data)


def frames(data: bytes) -> object:
    """What stands in a segment: whole frames are taken off, the rest is named, and nothing is read twice."""
    found = frame.split(data, SALT)
    assert found.used == sum(each.head.frame_bytes for each in found.frames) <= len(data)
    assert (found.flaw is None) == (found.used == len(data))
    for each in found.frames:
        assert len(each.slices()) == len(each.records()) == each.head.count
    later = frame.search(data, min(found.used + 1, len(data)), SALT, 0)
    return later is None or frame.decode_head(data, later, SALT)


def forged(data: bytes) -> object:
    """A frame whose checksums are right whatever it holds: only its shape can be told from a good one."""
    ends = b"\x5a\x00\x00\x00\x04" + len(data).to_bytes(4) + b"\x99\x00\x01"
    first = frame.encode([b"\xf6"], first_seq=1, time_ns=5, epoch=1, root=b"r" * 32, salt=SALT)
    body = ends + data
    head = bytearray(first[: frame.HEAD_BYTES])
    at = 3 + 4 + 1 + 1 + 2
    head[at : at + 4] = len(body).to_bytes(4)
    head[-8:-4] = frame.crc32(body, SALT).to_bytes(4)
    head[-4:] = frame.crc32(bytes(head[:-4]), SALT).to_bytes(4)
    whole = frame.decode(bytes(head) + body, 0, SALT)
    assert whole.slices() == [data]
    return whole.records()


def segment_head(data: bytes) -> object:
    head, end = segment.decode_head(data)
    assert end <= len(data)
    return head


def forged_segment_head(data: bytes) -> object:
    """A head whose checksum is right."""
    inner = data[:4_000]
    sealed = b"\x82\x59" + len(inner).to_bytes(2) + inner + b"\x1a" + segment.crc32(inner).to_bytes(4)
    return segment_head(sealed)


def note(data: bytes) -> object:
    """Only what the key signed is ever believed."""
    read = checkpoint.verify(data, PUBLIC)
    assert read in SIGNED
    return read


def signed_note(data: bytes) -> object:
    """A text of any shape under a good signature."""
    text = data.decode("utf-8", "replace").encode() + b"\n"
    origin = text.split(b"\n", 1)[0].decode()
    signature = checkpoint.base64.b64encode(checkpoint.key_id(origin, PUBLIC) + KEY.sign(text)).decode()
    return checkpoint.verify(text + f"\n— {origin} {signature}\n".encode(), PUBLIC)


INNER = tuple(head[4:-5] for head in HEADS)
TARGETS = (
    Target("eventlog.record", one_record, (Corrupt,), STORED),
    Target("eventlog.frame", frames, (Corrupt,), (*FRAMES, FRAMES[0] + FRAMES[1])),
    Target("eventlog.frame.forged", forged, (Corrupt,), STORED),
    Target("eventlog.segment", segment_head, (Corrupt,), HEADS),
    Target("eventlog.segment.forged", forged_segment_head, (Corrupt,), INNER),
    Target("eventlog.checkpoint", note, (Corrupt,), NOTES),
    Target("eventlog.checkpoint.signed", signed_note, (Corrupt,), tuple(each.rpartition(b"\n\n")[0] for each in NOTES)),
)
