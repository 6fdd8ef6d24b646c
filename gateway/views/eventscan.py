"""Stored events for a filter, newest first: which index to walk, and how to walk several at once.

Invariant: rows come in order (newest first, ties by lowest id), each once, all below a given log position; whatever
index is chosen, every row is held against the whole filter, and against what its reader may see and the time. What a
page costs does not depend on how deep it lies: every stream goes on from its last row (created, tie, seq) by an index
seek, never by an offset. A scan is a generator that hands over what it has after at most `SCAN_ROWS` rows, so that its
caller can let others run.
"""

import heapq
import sqlite3
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from gateway.errors import Unavailable
from gateway.limits.views import SCAN_KINDS_MAX, SCAN_PAIRS_MAX, SCAN_ROWS, SCAN_SAMPLE_ROWS, SCAN_SAMPLE_STREAMS
from gateway.nostr.filter import Filter
from gateway.nostr.reader import WRAPS, Reader
from gateway.views.events import EventsView, mark_of, tag_key, tag_keys

_TOP = (2**63 - 1, 2**63 - 1, 2**63 - 1)


class Row(NamedTuple):
    """An index row; compares by age: newer rows are greater."""

    created: int
    tie: int
    seq: int
    author: int
    kind: int
    tags: bytes
    expires: int | None


@dataclass(frozen=True, slots=True)
class Index:
    """A way to walk: the table that gives the order, and the columns that are fixed in it."""

    source: str
    fixed: tuple[str, ...]

    @property
    def select(self) -> str:
        """SQL for a stream's next rows: fixed values, then created, tie and seq to be below, since, limit."""
        where = "".join(f"o.{column} = ? AND " for column in self.fixed)
        tables = "tag o JOIN event e ON e.seq = o.seq" if self.source == "tag" else "event o"
        row = "e" if self.source == "tag" else "o"
        return (
            f"SELECT o.created, o.tie, o.seq, {row}.author, {row}.kind, {row}.tags, {row}.expires "  # noqa: S608 - own names
            f"FROM {tables} WHERE {where}(o.created, o.tie, o.seq) < (?, ?, ?) AND o.created >= ? "
            "ORDER BY o.created DESC, o.tie DESC, o.seq DESC LIMIT ?"
        )


TIME = Index("event", ("relay",))
KIND = Index("event", ("relay", "kind"))
AUTHOR_KIND = Index("event", ("relay", "author", "kind"))
TAG = Index("tag", ("key",))


@dataclass(frozen=True, slots=True)
class Plan:
    """An index, and the streams in it whose union holds every row that the filter may want."""

    index: Index
    streams: Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Sieve:
    """A filter in the view's own numbers; None where a field is absent."""

    authors: frozenset[int] | None
    kinds: frozenset[int] | None
    tags: tuple[frozenset[int], ...]
    since: int
    seq_end: int
    now_s: int
    private: frozenset[int]
    addressed: frozenset[int]  # tag keys of the reader's keys under ``p``
    own: frozenset[int]  # the reader's keys as authors

    def passes(self, row: Row) -> bool:
        """Hold a row against everything but ids and until."""
        if row.seq >= self.seq_end or row.created < self.since:
            return False
        if (row.expires is not None and row.expires <= self.now_s) or (
            row.kind in self.private and not self.opens(row)
        ):
            return False
        if self.authors is not None and row.author not in self.authors:
            return False
        if self.kinds is not None and row.kind not in self.kinds:
            return False
        return not self.tags or all(not keys.isdisjoint(tag_keys(row.tags)) for keys in self.tags)

    def opens(self, row: Row) -> bool:
        """Whether a private row is the reader's, as far as hashes tell; the event itself has the last word."""
        if row.kind not in WRAPS and row.author in self.own:
            return True
        return not self.addressed.isdisjoint(tag_keys(row.tags))


class Stream:
    """One walk down an index: the first rows are read when it is made, later ones when its reader comes to them."""

    def __init__(self, db: sqlite3.Connection, select: str, values: tuple[int, ...], since: int) -> None:
        self._db, self._select, self._values, self._since = db, select, values, since
        self._first: list[Row] = []
        self._more = False

    def begin(self, below: tuple[int, int, int], count: int) -> int:
        """Read the first rows; return how many there were."""
        self._first = self._read(below, count)
        return len(self._first)

    def __iter__(self) -> Iterator[Row]:
        rows = self._first
        while rows:
            yield from rows
            rows = self._read(rows[-1][:3], SCAN_ROWS) if self._more else []

    def _read(self, below: tuple[int, int, int], count: int) -> list[Row]:
        rows = self._db.execute(self._select, (*self._values, *below, self._since, count)).fetchall()
        self._more = len(rows) == count
        return list(map(Row._make, rows))


NOBODY = Reader(frozenset(), 0, frozenset())
"""A reader from whom nothing is kept, before anything expires: for maintenance and tests."""


class Ending:
    """How an answer ended: whether what was found is all there is (NIP-67). Filled in while pages are read."""

    def __init__(self) -> None:
        self._feeds = self._whole = self._more = 0

    def begin(self, feeds: int) -> None:
        """Say how many filters are answered."""
        self._feeds = feeds

    def note(self, *, more: bool) -> None:
        """Say that a filter's answer is known to be whole, or known to lack something."""
        self._whole += not more
        self._more += more

    @property
    def is_whole(self) -> bool | None:
        """True where nothing that matches was left out, False where something was, None where nobody looked so far.

        What one of several filters left out, another may have found: then nothing is claimed.
        """
        if self._whole == self._feeds:
            return True
        return False if self._more and self._feeds == 1 else None


class EventScan:
    """Reads an `EventsView`."""

    def __init__(self, view: EventsView) -> None:
        self._view = view

    @property
    def _db(self) -> sqlite3.Connection:
        return self._view.db

    def pages(
        self,
        relay_key: str,
        filters: Sequence[Filter],
        seq_end: int,
        limit_default: int,
        limit_max: int,
        *,
        reader: Reader = NOBODY,
        ending: Ending | None = None,
    ) -> Iterator[list[Row]]:
        """Find what is stored below log position ``seq_end`` for any of the filters, each with its own limit.

        Pages come in order and may be empty: between two of them the caller may pause, and the view may change.
        """
        relay = self._view.relay(relay_key)
        if relay is None:
            return iter(())
        limits = [min(limit_default if one.limit is None else one.limit, limit_max) for one in filters]
        ending = ending or Ending()
        ending.begin(len(filters))
        sieves = [self._sieve(relay, one, seq_end, reader) for one in filters]
        feeds = [
            self._scan(relay, one, limit, sieve, ending)
            for one, limit, sieve in zip(filters, limits, sieves, strict=True)
        ]
        return self._steady(feeds[0] if len(feeds) == 1 else _union(feeds))

    def _steady(self, pages: Iterator[list[Row]]) -> Iterator[list[Row]]:
        """Break off where the index was made anew between two pages: its numbers mean something else from then on."""
        db = self._view.db
        while self._view.db is db:
            page = next(pages, None)
            if page is None:
                return
            yield page
        raise Unavailable("the index was made anew; ask again")

    def _scan(self, relay: int, asked: Filter, limit: int, sieve: Sieve | None, ending: Ending) -> Iterator[list[Row]]:
        if sieve is None:
            ending.note(more=False)
        elif limit == 0:
            return
        elif asked.ids is not None:
            yield from self._by_id(relay, asked, sieve, limit, ending)
        else:
            plan = yield from self._plan(relay, asked, sieve)
            yield from self._merged(plan, asked, limit, sieve, ending)

    # -- choosing an index --------------------------------------------------------------------------------------------

    def _sieve(self, relay: int, asked: Filter, seq_end: int, reader: Reader) -> Sieve | None:
        """Translate a filter; None if nothing stored can match it."""
        authors = None if asked.authors is None else self._numbers(asked.authors)
        tags = tuple(frozenset(tag_key(relay, letter, value) for value in values) for letter, values in asked.tags)
        if authors == frozenset() or asked.kinds == frozenset() or frozenset() in tags or asked.ids == frozenset():
            return None
        addressed = frozenset(tag_key(relay, "p", pubkey) for pubkey in reader.keys)
        since, own = asked.since or 0, self._numbers(reader.keys)
        return Sieve(authors, asked.kinds, tags, since, seq_end, reader.now_s, reader.private, addressed, own)

    def _numbers(self, pubkeys: Iterable[str]) -> frozenset[int]:
        known = (self._view.author(pubkey) for pubkey in pubkeys)
        return frozenset(author.number for author in known if author is not None)

    def _plan(self, relay: int, asked: Filter, sieve: Sieve) -> Generator[list[Row], None, Plan]:
        """Choose the narrowest index by looking at a few rows of each that would do."""
        narrow = [*sieve.tags, *([sieve.addressed] if self._all_wraps(sieve) else ())]
        plans = [Plan(TAG, [(key,) for key in sorted(keys)]) for keys in narrow]
        if sieve.authors is not None:
            plans += yield from self._author_plans(relay, sieve.authors, sieve.kinds)
        if sieve.kinds is not None and (sieve.authors is None or not plans):
            plans.append(Plan(KIND, [(relay, kind) for kind in sorted(sieve.kinds)]))
        if not plans:
            return Plan(TIME, [(relay,)])
        return plans[0] if len(plans) == 1 else min(plans, key=lambda plan: self._weight(plan, asked, sieve))

    def _all_wraps(self, sieve: Sieve) -> bool:
        """Whether all that is asked for is private wraps: then only those for the reader need be walked."""
        return sieve.kinds is not None and sieve.kinds <= (WRAPS & sieve.private)

    def _author_plans(
        self, relay: int, authors: frozenset[int], kinds: frozenset[int] | None
    ) -> Generator[list[Row], None, list[Plan]]:
        """One stream for each author and kind; none where there would be too many of them."""
        pairs: list[tuple[int, ...]] = []
        for number, author in enumerate(sorted(authors), 1):
            wanted = self._kinds_of(relay, author) if kinds is None or len(kinds) > SCAN_KINDS_MAX else sorted(kinds)
            pairs += [(relay, author, kind) for kind in wanted]
            if len(wanted) > SCAN_KINDS_MAX or len(pairs) > SCAN_PAIRS_MAX:
                return []
            if number % SCAN_ROWS == 0:
                yield []
        return [Plan(AUTHOR_KIND, pairs)]

    def _kinds_of(self, relay: int, author: int) -> list[int]:
        """List the kinds of an author by skipping through the index: a seek for each."""
        rows = self._db.execute(
            "WITH RECURSIVE k(kind) AS ("
            " SELECT min(kind) FROM event WHERE relay = :r AND author = :a UNION ALL"
            " SELECT (SELECT min(kind) FROM event WHERE relay = :r AND author = :a AND kind > k.kind) FROM k"
            " WHERE k.kind IS NOT NULL LIMIT :max) SELECT kind FROM k WHERE kind IS NOT NULL",
            {"r": relay, "a": author, "max": SCAN_KINDS_MAX + 1},
        )
        return [kind for (kind,) in rows]

    def _weight(self, plan: Plan, asked: Filter, sieve: Sieve) -> float:
        """Estimate a plan's rows: a sample of its streams, as far as `SCAN_SAMPLE_ROWS` each."""
        sample = plan.streams[:SCAN_SAMPLE_STREAMS]
        top = _below(asked.until)
        rows = sum(self._stream(plan, values, sieve).begin(top, SCAN_SAMPLE_ROWS) for values in sample)
        return rows * len(plan.streams) / max(1, len(sample))

    def _stream(self, plan: Plan, values: tuple[int, ...], sieve: Sieve) -> Stream:
        return Stream(self._db, plan.index.select, values, sieve.since)

    # -- walking ------------------------------------------------------------------------------------------------------

    def _merged(self, plan: Plan, asked: Filter, limit: int, sieve: Sieve, ending: Ending) -> Iterator[list[Row]]:
        """Merge a plan's streams into pages of what passes, until there are ``limit`` rows.

        Then it looks a page further, no more, for another: so that whoever asked knows whether to ask again.
        """
        streams = [self._stream(plan, values, sieve) for values in plan.streams]
        ahead = max(1, min(SCAN_ROWS, 2 * limit // max(1, len(streams)) + 1))
        read = 0
        for stream in streams:
            read += 1 + stream.begin(_below(asked.until), ahead)
            if read > SCAN_ROWS:
                read = 0
                yield []
        page: list[Row] = []
        last_seq = -1
        rows = heapq.merge(*streams, reverse=True)
        for number, row in enumerate(rows, 1):
            if row.seq != last_seq and sieve.passes(row):  # one row may stand in several streams: two tags, one event
                page.append(row)
                limit -= 1
            last_seq = row.seq
            if not limit:
                break
            if number % SCAN_ROWS == 0:
                yield page
                page = []
        yield page
        looked = 0
        for looked, row in enumerate(islice(rows, SCAN_ROWS), 1):  # noqa: B007 - read behind the loop
            if row.seq != last_seq and sieve.passes(row):
                ending.note(more=True)
                return
        if looked < SCAN_ROWS:
            ending.note(more=False)

    def _by_id(self, relay: int, asked: Filter, sieve: Sieve, limit: int, ending: Ending) -> Iterator[list[Row]]:
        assert asked.ids is not None
        found: list[Row] = []
        for batch in _batches(sorted(asked.ids), SCAN_ROWS):
            for event_id in batch:
                row = self._row(relay, event_id)
                if row is not None and sieve.passes(row) and asked.in_time(row.created):
                    found.append(row)
            yield []
        ending.note(more=len(found) > limit)
        yield sorted(found, reverse=True)[:limit]

    def _row(self, relay: int, event_id: str) -> Row | None:
        row = self._db.execute(
            "SELECT created, tie, seq, author, kind, tags, expires FROM event WHERE tie = ? AND half = ? AND relay = ?",
            (*mark_of(0, event_id)[1:], relay),
        ).fetchone()
        return Row(*row) if row else None


def _union(feeds: Sequence[Iterator[list[Row]]]) -> Iterator[list[Row]]:
    """Merge the answers of several filters into one, each row once, holding a page of each at most."""
    held: list[deque[Row]] = [deque() for _ in feeds]
    page: list[Row] = []
    last_seq = -1
    while True:
        for feed, rows in zip(feeds, held, strict=True):
            while not rows and (more := next(feed, None)) is not None:
                rows.extend(more)
                if not more:
                    yield page
                    page = []
        newest = max((rows for rows in held if rows), key=lambda rows: rows[0], default=None)
        if newest is None:
            break
        row = newest.popleft()
        if row.seq != last_seq:
            page.append(row)
        last_seq = row.seq
        if len(page) >= SCAN_ROWS:
            yield page
            page = []
    yield page


def _below(until: int | None) -> tuple[int, int, int]:
    """The (created, tie, seq) that everything up to ``until`` is below."""
    return _TOP if until is None else (until + 1, -(2**63), 0)


def _batches(values: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (values[at : at + size] for at in range(0, len(values), size))
