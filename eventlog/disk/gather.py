"""Payloads of many records of one frame, read together: neighbours with one read, decoded with one call.

A record alone costs two reads, a decoding and a hash, 5 µs; one of many costs 1.5. Index rows that were stored one
after another are read one after another, so pages of an answer are mostly neighbours.
Invariant: what is given out matches its own commitment. Whatever does not is left to the reading of a single record,
which says what is wrong with it. This module must not know which files there are.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from struct import unpack

import cbor2

from eventlog import frame as frames
from eventlog.disk.durable import Disk
from eventlog.index import Place
from eventlog.limits import GAP_BYTES_MAX, READ_BYTES


def payloads(disk: Disk, fd: int, place: Place, seqs: Sequence[int]) -> dict[int, bytes | None] | None:
    """Read the payloads of records of one frame, ``seqs`` in order, None where erased; None for all if one is bad."""
    table = place.offset + frames.HEAD_BYTES + 5
    first, last = seqs[0] - place.first_seq, seqs[-1] - place.first_seq
    before = max(first - 1, 0)
    ends = unpack(f">{last + 1 - before}I", disk.read(fd, 4 * (last + 1 - before), table + 4 * before))
    if not first:
        ends = (0, *ends)
    records = table + 4 * place.count + 3
    spans = [(ends[seq - seqs[0]], ends[seq - seqs[0] + 1]) for seq in seqs]
    parts: list[bytes] = []
    for some in _neighbours(spans):
        start, stop = some[0][0], some[-1][1]
        data = disk.read(fd, stop - start, records + start)
        if sum(end - begin for begin, end in some) == stop - start:
            parts.append(data)
        else:
            parts += [data[begin - start : end - start] for begin, end in some]
    return _decoded(seqs, parts)


def _neighbours(spans: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Put spans together that lie close enough that reading what is between them is cheaper than another read."""
    some = [spans[0]]
    for span in spans[1:]:
        if span[0] - some[-1][1] > GAP_BYTES_MAX or span[1] - some[0][0] > READ_BYTES:
            yield some
            some = []
        some.append(span)
    yield some


def _decoded(seqs: Sequence[int], parts: Sequence[bytes]) -> dict[int, bytes | None] | None:
    found: dict[int, bytes | None] = {}
    try:
        items = cbor2.loads(b"".join((b"\x99", len(seqs).to_bytes(2, "big"), *parts)))
        for seq, (_, _, _, _, commitment, payload) in zip(seqs, items, strict=True):
            if payload is not None and sha256(payload).digest() != commitment:
                return None
            found[seq] = payload
    except (cbor2.CBORDecodeError, ValueError, TypeError):
        return None
    return found
