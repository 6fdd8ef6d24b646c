"""What the log records of itself: recoveries, erasures, retention; kinds that begin with ``log.``.

Payloads are CBOR arrays of the fields in order, as every fact's. None is personal and none is ever erased: an audit
accepts a record without a payload only where one of these names it (`Excused`), so they must outlive what they excuse.
Invariant: an `Erased` names seqs, never whom they were about. This module must not know who asks, or how files are
rewritten.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import cbor2
import msgspec

from eventlog.errors import Corrupt
from eventlog.limits import ERASED_RANGES_MAX
from eventlog.record import Draft, Record

PREFIX = "log."


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the log's own facts share: a kind and a schema number."""

    kind: ClassVar[str]
    schema: ClassVar[int] = 1


class Recovered(Entry, frozen=True, array_like=True):
    """A torn tail of ``size`` bytes was cut from ``file`` at byte ``offset``, and kept aside under a name."""

    kind: ClassVar[str] = "log.recovered"
    file: str
    offset: int
    size: int
    kept_as: str


class Range(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The seqs from ``first`` to the one before ``end``."""

    first: int
    end: int


class Erased(Entry, frozen=True, array_like=True):
    """The payloads of ``count`` records were erased, those in ``ranges`` (in order, apart from each other).

    ``by`` says who asked, ``reason`` why, ``what`` which kind of subject it was about ("user", "token", …): none of
    them says whom. One erasure of more than ERASED_RANGES_MAX ranges is told by several records.
    """

    kind: ClassVar[str] = "log.erased"
    by: str
    reason: str
    what: str
    count: int
    ranges: tuple[Range, ...]


class Below(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The records of one kind before seq ``seq``."""

    kind: str
    seq: int


class Retained(Entry, frozen=True, array_like=True):
    """By retention, all records before ``first_seq`` are gone, and, kind by kind, the payloads of those ``below``."""

    kind: ClassVar[str] = "log.retained"
    first_seq: int
    below: tuple[Below, ...]

    def floor(self, kind: str) -> int:
        """Give the seq below which nothing of this kind is left."""
        return max([self.first_seq, *(one.seq for one in self.below if one.kind == kind)])


AnyEntry = Recovered | Erased | Retained
ENTRIES: dict[str, type[Recovered] | type[Erased] | type[Retained]] = {
    Recovered.kind: Recovered,
    Erased.kind: Erased,
    Retained.kind: Retained,
}


def draft(entry: AnyEntry, ts_ns: int) -> Draft:
    """Turn an entry into the record to append."""
    return Draft(entry.kind, cbor2.dumps(_plain(entry)), ts_ns, schema=entry.schema)


def _plain(entry: AnyEntry) -> Any:
    return msgspec.to_builtins(entry, builtin_types=(bytes,))


def entry_of(record: Record) -> AnyEntry | None:
    """Give the entry that a record holds, None for a record of any other kind.

    Raises Corrupt for an unknown kind, schema or payload under ``log.``: a newer release wrote it, or nobody.
    """
    if not record.kind.startswith(PREFIX):
        return None
    entry = ENTRIES.get(record.kind)
    if entry is None or record.schema != entry.schema or record.payload is None:
        raise Corrupt(f"record {record.seq}: kind {record.kind!r} schema {record.schema} is not known")
    try:
        return msgspec.convert(cbor2.loads(record.payload), type=entry)
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise Corrupt(f"record {record.seq}: the payload is not a {record.kind}") from error


def ranges_of(seqs: Iterable[int]) -> tuple[Range, ...]:
    """Write seqs, in any order, as the fewest ranges."""
    found: list[Range] = []
    for seq in sorted(set(seqs)):
        if found and found[-1].end == seq:
            found[-1] = Range(found[-1].first, seq + 1)
        else:
            found.append(Range(seq, seq + 1))
    return tuple(found)


def erasures(by: str, reason: str, what: str, ranges: Sequence[Range]) -> list[Erased]:
    """Tell one erasure, in as many entries as its ranges need."""
    parts = [ranges[at : at + ERASED_RANGES_MAX] for at in range(0, len(ranges), ERASED_RANGES_MAX)]
    return [Erased(by, reason, what, sum(one.end - one.first for one in part), tuple(part)) for part in parts]


class Excused:
    """Which records may lack their payload, by what the log says of itself; `take` the entries in any order."""

    def __init__(self) -> None:
        self._ranges: list[Range] = []
        self._firsts: list[int] | None = None
        self._reach: list[int] = []
        self._below: dict[str, int] = {}
        self.first_seq = 0

    def take(self, entry: AnyEntry | None) -> None:
        """Take in what one entry excuses."""
        match entry:
            case Erased(ranges=ranges):
                self._ranges += ranges
                self._firsts = None
            case Retained(first_seq, below):
                self.first_seq = max(self.first_seq, first_seq)
                for one in below:
                    self._below[one.kind] = max(self._below.get(one.kind, 0), one.seq)
            case _:
                pass

    def __contains__(self, record: Record) -> bool:
        """Whether this record's payload may be missing."""
        if record.seq < self._below.get(record.kind, 0):
            return True
        if self._firsts is None:
            self._sort()
        assert self._firsts is not None
        at = bisect_right(self._firsts, record.seq) - 1
        return at >= 0 and record.seq < self._reach[at]

    def _sort(self) -> None:
        """Ranges of different erasures may lap over each other: each is remembered by how far any up to it reaches."""
        self._ranges.sort(key=lambda one: one.first)
        self._firsts, self._reach, reach = [], [], 0
        for one in self._ranges:
            reach = max(reach, one.end)
            self._firsts.append(one.first)
            self._reach.append(reach)
