"""Stored events for a filter, newest first: which index to walk, and how to walk several at once.

Invariant: rows come in order (newest first, ties by lowest id), each once, all below a given log position; whatever
index is chosen, every row is held against the whole filter, and against what its reader may see and the time. What a
page costs does not depend on how deep it lies: a walk goes on from its last key by a search, never by an offset. A scan
is a generator that hands over what it has after at most `SCAN_ROWS` rows, so that its caller can let others run.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from gateway.errors import Unavailable
from gateway.limits.views import (
    SCAN_AUTHORS,
    SCAN_KINDS_MAX,
    SCAN_PAIRS_MAX,
    SCAN_ROWS,
    SCAN_SAMPLE_ROWS,
    SCAN_SAMPLE_STREAMS,
)
from gateway.nostr.filter import Filter
from gateway.nostr.reader import WRAPS, Reader
from gateway.views import eventkeys
from gateway.views.eventkeys import tag_key, tag_keys
from gateway.views.events import EventsView

_COLUMNS = "created, tie, seq, author, kind, tags, expires"


class Row(NamedTuple):
    """An index row; compares by age: newer rows are greater."""

    created: int
    tie: int
    seq: int
    author: int
    kind: int
    tags: bytes
    expires: int | None


_row: Callable[[tuple[Any, ...]], Row] = partial(tuple.__new__, Row)  # half the cost of what the class offers


def age(row: Row) -> tuple[int, int, int]:
    """Give what sorts rows as they are walked: the newest first, of one second that with the lowest id."""
    return -row.created, -row.tie, row.seq


@dataclass(frozen=True, slots=True)
class Sieve:
    """A filter in the view's own numbers; None where a field is absent."""

    authors: frozenset[int] | None
    kinds: frozenset[int] | None
    tags: tuple[frozenset[bytes], ...]
    since: int
    seq_end: int
    now_s: int
    private: frozenset[int]
    addressed: frozenset[bytes]  # tag keys of the reader's keys under ``p``
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
        """Break off where the index was made anew, or lost rows, between two pages: its numbers mean something else."""
        orders = self._view.orders
        while self._view.orders is orders:
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

    def _plan(self, relay: int, asked: Filter, sieve: Sieve) -> Generator[list[Row], None, Sequence[bytes]]:
        """Choose the narrowest streams whose union holds all that is asked for, by looking at a little of each."""
        narrow = [*sieve.tags, *([sieve.addressed] if self._all_wraps(sieve) else ())]
        plans: list[Sequence[bytes]] = [[eventkeys.of_tag(key) for key in sorted(keys)] for keys in narrow]
        if sieve.authors is not None:
            plans += yield from self._author_plans(relay, sieve.authors, sieve.kinds)
        if sieve.kinds is not None and (sieve.authors is None or not plans):
            plans.append([eventkeys.of_kind(relay, kind) for kind in sorted(sieve.kinds)])
        if not plans:
            return [eventkeys.time_line(relay)]
        return plans[0] if len(plans) == 1 else min(plans, key=lambda plan: self._weight(plan, asked, sieve))

    def _all_wraps(self, sieve: Sieve) -> bool:
        """Whether all that is asked for is private wraps: then only those for the reader need be walked."""
        return sieve.kinds is not None and sieve.kinds <= (WRAPS & sieve.private)

    def _author_plans(
        self, relay: int, authors: frozenset[int], kinds: frozenset[int] | None
    ) -> Generator[list[Row], None, list[Sequence[bytes]]]:
        """One stream for each author and kind; none where there would be too many of them."""
        pairs: list[bytes] = []
        for number, author in enumerate(sorted(authors), 1):
            is_any = kinds is None or len(kinds) > SCAN_KINDS_MAX
            wanted = self._view.kinds_of(relay, author, SCAN_KINDS_MAX + 1) if is_any else sorted(kinds or ())
            pairs += [eventkeys.of_author_kind(relay, author, kind) for kind in wanted]
            if len(wanted) > SCAN_KINDS_MAX or len(pairs) > SCAN_PAIRS_MAX:
                return []
            if number % SCAN_AUTHORS == 0:
                yield []
        return [pairs]

    def _weight(self, plan: Sequence[bytes], asked: Filter, sieve: Sieve) -> float:
        """Estimate a plan's rows: a sample of its streams, as far as `SCAN_SAMPLE_ROWS` each."""
        sample = plan[:SCAN_SAMPLE_STREAMS]
        walks = (filter(None, self._orders([prefix], asked, sieve)) for prefix in sample)
        rows = sum(sum(1 for _ in islice(walk, SCAN_SAMPLE_ROWS)) for walk in walks)
        return rows * len(plan) / max(1, len(sample))

    def _orders(self, prefixes: Sequence[bytes], asked: Filter, sieve: Sieve) -> Iterator[bytes | None]:
        after = b"" if asked.until is None else eventkeys.from_time(asked.until)
        return self._view.orders.walk(prefixes, after, eventkeys.back_to(sieve.since))

    # -- walking ------------------------------------------------------------------------------------------------------

    def _merged(
        self, plan: Sequence[bytes], asked: Filter, limit: int, sieve: Sieve, ending: Ending
    ) -> Iterator[list[Row]]:
        """Walk a plan's streams and give pages of what passes, until there are ``limit`` rows.

        Then it looks a page further, no more, for another: so that whoever asked knows whether to ask again.
        """
        page: list[Row] = []
        looked = 0  # rows behind the limit
        for rows in self._rows(self._orders(plan, asked, sieve), limit + 1):
            passing = list(filter(sieve.passes, rows))
            page = passing[:limit]
            if len(passing) > limit:
                yield page
                ending.note(more=True)
                return
            looked += len(rows) if not limit else 0
            limit -= len(page)
            yield page
            if looked > SCAN_ROWS:
                return
        ending.note(more=False)

    def _rows(self, orders: Iterator[bytes | None], ahead: int) -> Iterator[list[Row]]:
        """Give the rows that a walk comes by, some at a time: ``ahead`` at first, then more and more."""
        size = min(ahead, SCAN_ROWS)
        some: list[bytes] = []
        for order in orders:
            if order is not None:
                some.append(order)
            if order is None or len(some) >= size:
                yield self._read(some)
                size = min(SCAN_ROWS, size if order is None else 4 * size)
                some = []
        if some:
            yield self._read(some)

    def _read(self, keys: Iterable[bytes]) -> list[Row]:
        return self._of(eventkeys.seqs_of(keys))

    def _of(self, seqs: Sequence[int]) -> list[Row]:
        """Give the rows that are there; a key may outlive its row."""
        kept = self._view.kept
        rows = kept.of(seqs)
        if None in rows:
            unread = [seq for seq, row in zip(seqs, rows, strict=True) if row is None]
            read = {row[2]: _row(row) for row in self._view.select(_COLUMNS, unread)}
            kept.keep(read)
            rows = [row or read.get(seq) for seq, row in zip(seqs, rows, strict=True)]
        return list(filter(None, rows))

    def _by_id(self, relay: int, asked: Filter, sieve: Sieve, limit: int, ending: Ending) -> Iterator[list[Row]]:
        assert asked.ids is not None
        found: list[Row] = []
        for batch in _batches(sorted(asked.ids), SCAN_ROWS):
            rows = self._of(self._view.with_id(relay, batch))
            found += [row for row in rows if sieve.passes(row) and asked.in_time(row.created)]
            yield []
        ending.note(more=len(found) > limit)
        yield sorted(found, key=age)[:limit]


class Named(NamedTuple):
    """A `Row`, and behind it what its event's id ends with."""

    created: int
    tie: int
    seq: int
    author: int
    kind: int
    tags: bytes
    expires: int | None
    half: int
    rest: bytes


_named: Callable[[tuple[Any, ...]], Any] = partial(tuple.__new__, Named)  # stands wherever a row does


class NameScan(EventScan):
    """Reads rows as `Named`, each once: nothing that others read often makes room for what a comparison goes over."""

    def _of(self, seqs: Sequence[int]) -> list[Row]:
        read = {row[2]: _named(row) for row in self._view.select(f"{_COLUMNS}, half, rest", seqs)}
        return list(filter(None, map(read.get, seqs)))


def names(rows: Iterable[tuple[Any, ...]]) -> list[tuple[int, bytes]]:
    """Give the (created_at, id) of a `NameScan`'s rows."""
    return [(created, eventkeys.id_of(tie, half, rest)) for created, tie, _, _, _, _, _, half, rest in rows]


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
        newest = min((rows for rows in held if rows), key=lambda rows: age(rows[0]), default=None)
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


def _batches(values: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (values[at : at + size] for at in range(0, len(values), size))
