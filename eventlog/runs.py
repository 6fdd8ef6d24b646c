"""Sorted keys that change no more: a list in memory, or a run of pages in a view's file.

A key is a fixed number of bytes: a prefix that names a stream, then what orders a stream, and as its last
`STAMP_BYTES` the seq of the record that it came from. Keys are added in the order of their stamps, so every source
holds those of one stretch of the log.
Invariant: a run's pages are written before it is named and are never written again; its fences (the first key of each
page) are in memory, so that a look-up reads one page. This module must not know which sources there are, or why.
"""

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, Protocol

from eventlog.bloom import Ask, Bloom
from eventlog.limits import RUN_PAGES_CACHED_MAX, RUN_PART_BYTES

STAMP_BYTES = 6
RUN_BITS = 32  # a page's place is its run's number, then its own
BLOOM = 1 << 31  # fences come first among a run's parts, those of its filter from here on
_PAGES_A_STEP = 8
_SWEEP_COST = 12  # deleting a page takes as long as merging so many keys
_COLUMNS_MAX = 4_096


class Shape(NamedTuple):
    """What the keys of a set look like; ``hashed``: they begin with a hash, and are looked up by whole prefixes."""

    width: int
    prefix: int
    hashed: bool = False


class Span(NamedTuple):
    """How far a source reaches: its lowest and highest key without prefix, and its lowest and highest stamp."""

    first: bytes
    last: bytes
    low: bytes
    high: bytes


def around(spans: Iterable[Span]) -> Span:
    """Give the span of several sources together."""
    firsts, lasts, lows, highs = zip(*spans, strict=True)
    return Span(min(firsts), max(lasts), min(lows), max(highs))


class Source(Protocol):
    """Keys in order."""

    @property
    def span(self) -> Span:
        """How far it reaches, at most."""

    @property
    def size(self) -> int:
        """The number of its keys."""

    def between(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """Give the keys above ``low``, up to and with ``high``."""

    def chunks(self) -> Iterator[Sequence[bytes]]:
        """Give all keys, a page or so at a time."""


class Held:
    """Keys in memory; ``journal``: the number of the last batch in them."""

    CHUNK = 512

    def __init__(self, keys: list[bytes], span: Span, journal: int) -> None:
        self.keys, self.span, self.journal = keys, span, journal

    @classmethod
    def union(cls, some: Sequence["Held"]) -> "Held":
        """Give one list in the place of several."""
        keys = [key for held in some for key in held.keys]
        keys.sort()
        return cls(keys, around(held.span for held in some), some[-1].journal)

    @property
    def size(self) -> int:
        """The number of keys."""
        return len(self.keys)

    def between(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """Give the keys above ``low``, up to and with ``high``."""
        keys = self.keys
        return iter(keys[bisect_right(keys, low) : bisect_right(keys, high)])

    def holding(self, prefix: bytes) -> list[bytes]:
        """Give the keys that begin with a prefix."""
        keys = self.keys
        return keys[bisect_left(keys, prefix) : bisect_right(keys, prefix + b"\xff" * 64)]

    def chunks(self) -> Iterator[Sequence[bytes]]:
        """Give all keys, some hundreds at a time."""
        return (self.keys[at : at + self.CHUNK] for at in range(0, len(self.keys), self.CHUNK))


SCHEMA = """
    CREATE TABLE IF NOT EXISTS run (
        number INTEGER PRIMARY KEY, keys TEXT, level INTEGER, count INTEGER,
        first BLOB, last BLOB, low BLOB, high BLOB);
    CREATE TABLE IF NOT EXISTS run_page (place INTEGER PRIMARY KEY, data BLOB);
    CREATE TABLE IF NOT EXISTS run_part (place INTEGER PRIMARY KEY, data BLOB);
    CREATE TABLE IF NOT EXISTS run_live (
        keys TEXT, number INTEGER, data BLOB, PRIMARY KEY (keys, number)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS run_gone (
        keys TEXT, stamp INTEGER, mark INTEGER, PRIMARY KEY (keys, stamp)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS run_state (
        keys TEXT, name TEXT, value INTEGER, PRIMARY KEY (keys, name)) WITHOUT ROWID;
"""
"""The tables of all sets of a view: a set's rows are told by its name, pages by the number of their run."""


class About(NamedTuple):
    """What a run is known by: ``size`` counts its keys."""

    number: int
    level: int
    size: int
    span: Span


class Beside(NamedTuple):
    """What is in memory of a run: the first key of each page, and of a hashed set's the filter."""

    fences: Sequence[bytes]
    bloom: Bloom | None


class Pages:
    """The pages of runs, and what stands beside them; those read last are kept."""

    def __init__(self, db: sqlite3.Connection, shape: Shape) -> None:
        self.db, self.shape = db, shape
        self._read: dict[int, bytes] = {}

    def page(self, place: int) -> bytes:
        """Give a page's keys."""
        found = self._read.get(place)
        if found is None:
            if len(self._read) >= RUN_PAGES_CACHED_MAX:
                self._read.clear()
            row = self.db.execute("SELECT data FROM run_page WHERE place = ?", (place,)).fetchone()
            found = self._read[place] = row[0]
        return found

    def some(self, place: int, count: int) -> list[bytes]:
        """Give pages that follow one another, past what is kept: whoever reads them all reads them once."""
        query = "SELECT data FROM run_page WHERE place >= ? AND place < ? ORDER BY place"
        return [page for (page,) in self.db.execute(query, (place, place + count))]

    def beside(self, run: int) -> "Beside":
        """Read what stands beside a run."""
        query = "SELECT data FROM run_part WHERE place >= ? AND place < ? ORDER BY place"
        begin, middle, end = run << RUN_BITS, (run << RUN_BITS) + BLOOM, (run + 1) << RUN_BITS
        found = (self.db.execute(query, reach).fetchall() for reach in ((begin, middle), (middle, end)))
        fences, bloom = (b"".join(data for (data,) in rows) for rows in found)
        return Beside(unpacked(fences, self.shape.width), Bloom.load(bloom) if bloom else None)

    def sweep(self, run: int) -> Generator[int, None, None]:
        """Delete a run's pages, some at a time; yields what that cost, in keys."""
        reach = (run << RUN_BITS, (run + 1) << RUN_BITS, _PAGES_A_STEP)
        for delete in (
            "DELETE FROM run_page WHERE place IN (SELECT place FROM run_page WHERE place >= ? AND place < ? LIMIT ?)",
            "DELETE FROM run_part WHERE place IN (SELECT place FROM run_part WHERE place >= ? AND place < ? LIMIT ?)",
        ):
            while count := self.db.execute(delete, reach).rowcount:
                yield _SWEEP_COST * count


class Run:
    """Keys in pages of a file. ``dead``: how many stamps in its reach are left out when it is written anew."""

    def __init__(self, pages: Pages, about: About, beside: Beside) -> None:
        self.number, self.level, self.size, self.span = about
        self.dead = 0
        self._pages, self._width, self._place = pages, pages.shape.width, self.number << RUN_BITS
        self._fences, self._bloom = beside

    def between(self, low: bytes, high: bytes) -> Iterator[bytes]:
        """Give the keys above ``low``, up to and with ``high``; no page after the last one that is needed is read."""
        fences, width = self._fences, self._width
        first = max(0, bisect_right(fences, low) - 1)
        for at in range(first, len(fences)):
            if fences[at] > high:
                return
            page = self._pages.page(self._place + at)
            begin = _above(page, width, low) if at == first else 0
            if at + 1 < len(fences) and fences[at + 1] <= high:  # all of it, at half the cost of looking at each
                yield from unpacked(page[begin:], width)
                continue
            for position in range(begin, len(page), width):
                key = page[position : position + width]
                if key > high:
                    return
                yield key

    def holding(self, wanted: Collection[Ask]) -> Iterator[bytes]:
        """Give the keys that begin with one of the prefixes (of a hashed set); for most the filter says no."""
        assert self._bloom is not None, "a hashed set"
        for prefix in self._bloom.passing(wanted):
            yield from self.between(prefix, prefix + b"\xff" * 64)

    def chunks(self) -> Iterator[Sequence[bytes]]:
        """Give all keys, a page at a time."""
        for at in range(0, len(self._fences), _PAGES_A_STEP):
            count = min(_PAGES_A_STEP, len(self._fences) - at)
            for page in self._pages.some(self._place + at, count):
                yield unpacked(page, self._width)


def _above(page: bytes, width: int, low: bytes) -> int:
    """Where the keys above ``low`` begin."""
    return width * bisect_right(range(len(page) // width), low, key=lambda n: page[n * width : n * width + width])


class RunWriter:
    """Writes a run: keys in order, page by page; it is a run once `end` has given what stands beside it a place."""

    def __init__(self, pages: Pages, number: int, count_max: int, page_bytes: int) -> None:
        shape = pages.shape
        self._db, self._place, self._width = pages.db, number << RUN_BITS, shape.width
        self._page_keys = max(1, page_bytes // shape.width)
        self._fences: list[bytes] = []
        self._left: list[bytes] = []
        self._bloom = Bloom(count_max) if shape.hashed else None
        self.count = 0

    @property
    def beside(self) -> Beside:
        """What stands beside the run that was written."""
        return Beside(self._fences, self._bloom)

    def write(self, keys: list[bytes]) -> None:
        """Take the next keys; what fills no page waits for more."""
        self.count += len(keys)
        if self._bloom is not None:
            self._bloom.add(keys)
        self._left += keys
        self._write(len(self._left) - len(self._left) % self._page_keys)

    def _write(self, end: int) -> None:
        left, size = self._left, self._page_keys
        starts = range(0, end, size)
        first = self._place + len(self._fences)
        pages = [(first + n, b"".join(left[at : at + size])) for n, at in enumerate(starts)]
        self._db.executemany("INSERT INTO run_page VALUES (?, ?)", pages)
        self._fences += [left[at] for at in starts]
        self._left = left[end:]

    def end(self) -> Generator[int, None, None]:
        """Write the last page, the fences and the filter; yields what that cost, in keys."""
        self._write(len(self._left))
        part = RUN_PART_BYTES // self._width
        fences = (b"".join(self._fences[at : at + part]) for at in range(0, len(self._fences), part))
        bloom = self._bloom.parts(RUN_PART_BYTES) if self._bloom is not None else ()
        for first, parts in ((0, fences), (BLOOM, bloom)):
            for n, data in enumerate(parts, self._place + first):
                self._db.execute("INSERT INTO run_part VALUES (?, ?)", (n, data))
                yield 1 + len(data) // self._width


def merged(sources: Sequence[Source]) -> Iterator[list[bytes]]:
    """Merge sources into lists of keys in order, each at most as long as one chunk of every source.

    What is at most the lowest of the chunks' last keys is complete: it is put together and sorted, which for a handful
    of sorted stretches is merging them, in C (80 ns a key, where `heapq.merge` takes 400).
    """
    feeds = [source.chunks() for source in sources]
    chunks = [next(feed, ()) for feed in feeds]
    while some := [chunk[-1] for chunk in chunks if chunk]:
        border = min(some)
        taken: list[bytes] = []
        for n, chunk in enumerate(chunks):
            cut = bisect_right(chunk, border)
            taken += chunk[:cut]
            chunks[n] = chunk[cut:] if cut < len(chunk) else next(feeds[n], ()) if chunk else ()
        taken.sort()
        yield taken


@lru_cache(64)
def _columns(width: int, count: int) -> Struct:
    return Struct(f"{width}s" * count)


def unpacked(data: bytes, width: int) -> Sequence[bytes]:
    """Cut keys that stand back to back."""
    count = len(data) // width
    if count > _COLUMNS_MAX:
        return [data[at : at + width] for at in range(0, len(data), width)]
    return _columns(width, count).unpack(data)
