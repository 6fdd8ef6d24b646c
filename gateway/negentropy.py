"""Range-based set reconciliation, Negentropy protocol version 1 (NIP-77's appendix), for any set that we hold.

Two sides that hold sets of (timestamp, id) tell each other fingerprints of ranges, and split those that differ until
what is missing on either side is listed. A set is kept as one block of ids, one array of times and the running sum at
every 16th item: 44 bytes an item, and the fingerprint of any range costs a few additions and one hash.
Invariant: `Responder.answer` is total over bytes: a message is answered within the frame limit, or `Malformed` says
what is wrong; ranges are adjacent and in order. This module must not know where items come from, or who asks.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from struct import Struct

import msgspec

VERSION = 0x61
ID_BYTES = 32
PRINT_BYTES = 16
INFINITY = 2**64 - 1
SKIP, FINGERPRINT, IDS = 0, 1, 2
BUCKETS = 16
"""Ranges that a differing one is split into; one of fewer than twice as many items is listed. As in all others."""
FRAME_BYTES_MIN = 4_096
"""The protocol's own lower limit of a frame's size."""
_MODULUS = 2**256
_TAIL_BYTES = 2_048  # what one range may add beyond the limit, 31 ids, and the fingerprint that ends a cut message
_STRIDE = 16  # items between running sums
_SLICE = 4_096  # items summed between two pauses: a millisecond

Key = tuple[int, bytes]
Item = tuple[int, bytes]
END: Key = (INFINITY, b"")


class Malformed(Exception):
    """The message is not of the protocol; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Range:
    """One range of a message: up to ``bound`` (exclusive), and what is said of it: nothing, a fingerprint, or ids."""

    bound: Key
    fingerprint: bytes | None = None
    ids: tuple[bytes, ...] | None = None


_number = int.from_bytes


@lru_cache(_STRIDE + 1)
def _names(count: int) -> Struct:
    """Cut that many ids out of a block at once: half of what cutting them one by one takes."""
    return Struct(f"{ID_BYTES}s" * count)


class Items:
    """A sorted set. ``items`` are (timestamp, 32-byte id), in any order; repeats count once. Blocks: 1 s a million."""

    def __init__(self, items: Iterable[Item]) -> None:
        ordered = sorted(items)  # what comes nearly in order, as rows do, is sorted in one pass
        unique = _unique(ordered)
        for _ in self.place(array("Q", [at for at, _ in unique]), b"".join([name for _, name in unique])):
            pass

    def place(self, times: "array[int]", ids: bytes) -> Iterator[None]:
        """Hold another set instead, that is in order and has each item once; pauses after every `_SLICE` items."""
        self._times, self._ids, self._sums, total = times, ids, [0], 0
        for begin in range(0, len(self) - _STRIDE + 1, _STRIDE):
            total = (total + self._sum(begin, begin + _STRIDE)) % _MODULUS
            self._sums.append(total)
            if begin % _SLICE == 0:
                yield

    def __len__(self) -> int:
        return len(self._times)

    def find(self, key: Key, begin: int) -> int:
        """Give the index of the first item that is not before ``key``, from ``begin`` on."""
        at, prefix = key
        if at == INFINITY:
            return len(self)
        low = bisect_left(self._times, at, begin)
        if not prefix:
            return low
        high = bisect_right(self._times, at, low)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._id(middle) < prefix else (low, middle)
        return low

    def ids(self, begin: int, end: int) -> list[bytes]:
        """List the ids of some items."""
        return [self._id(at) for at in range(begin, end)]

    def fingerprint(self, begin: int, end: int) -> bytes:
        """Digest a range: the sum of its ids and their count."""
        total = (self._sum_before(end) - self._sum_before(begin)) % _MODULUS
        return sha256(total.to_bytes(ID_BYTES, "little") + varint(end - begin)).digest()[:PRINT_BYTES]

    def bound(self, index: int) -> Key:
        """Give the shortest bound that lies between an item and the one before it."""
        if index >= len(self):
            return END
        at, name = self._times[index], self._id(index)
        if index == 0 or self._times[index - 1] != at:
            return (at, b"")
        other = self._id(index - 1)
        shared = next(place for place in range(ID_BYTES) if name[place] != other[place])
        return (at, name[: shared + 1])

    def newest(self, count: int) -> "Items":
        """Keep the newest; of one second those with the lowest ids, as a REQ's limit does."""
        ranked = sorted(((-at, self._id(number)) for number, at in enumerate(self._times)))
        return Items((-at, name) for at, name in ranked[:count])

    def _id(self, at: int) -> bytes:
        return self._ids[ID_BYTES * at : ID_BYTES * (at + 1)]

    def _sum(self, begin: int, end: int) -> int:
        some = _names(end - begin).unpack_from(self._ids, ID_BYTES * begin)
        return sum([_number(name, "little") for name in some])

    def _sum_before(self, end: int) -> int:
        return self._sums[end // _STRIDE] + self._sum(end - end % _STRIDE, end)

    def split(self, begin: int, end: int, upper: Key) -> Iterator[Range]:
        """Say what a range holds: its ids where it is small, else fingerprints of its parts."""
        count = end - begin
        if count < 2 * BUCKETS:
            yield Range(upper, ids=tuple(self.ids(begin, end)))
            return
        each, extra = divmod(count, BUCKETS)
        at = begin
        for number in range(BUCKETS):
            until = at + each + (number < extra)
            bound = upper if number == BUCKETS - 1 else self.bound(until)
            yield Range(bound, fingerprint=self.fingerprint(at, until))
            at = until


def _unique(ordered: Sequence[Item]) -> list[Item]:
    return [item for item, before in zip(ordered, chain([None], ordered), strict=False) if item != before]


class Gathering:
    """Takes a set together in short steps: `add` its pages, then go through `ready` to its end and take ``items``.

    Pages that come newest first, as an index gives them, are put in place as they are and cost no sort of the whole
    (which would hold the interpreter for a second a million); of any others the whole is sorted in the end.
    """

    def __init__(self) -> None:
        self.items = Items(())
        self._times: list[array[int]] = []
        self._ids: list[bytes] = []
        self._pending: list[Item] = []  # of the oldest second so far: the next page may have more of it
        self._lowest: Item = END
        self._in_order = True

    def add(self, page: Sequence[Item]) -> None:
        """Take in one page."""
        if not page:
            return
        oldest = min(page)[0]
        whole = [item for item in page if item[0] != oldest]
        if self._pending and (whole or self._pending[0][0] != oldest):
            whole, self._pending = self._pending + whole, []
        self._place(whole)
        self._pending += [item for item in page if item[0] == oldest]

    def _place(self, items: list[Item]) -> None:
        if not items:
            return
        ordered = _unique(sorted(items))
        self._in_order &= ordered[-1] < self._lowest
        self._lowest = ordered[0]
        self._times.append(array("Q", [at for at, _ in ordered]))
        self._ids.append(b"".join([name for _, name in ordered]))

    def ready(self) -> Iterator[None]:
        """Put the parts together, pausing between short steps; then ``items`` is the set."""
        self._place(self._pending)
        self._pending = []
        times = array("Q")
        for part in reversed(self._times):
            times += part
        ids = b"".join(reversed(self._ids))
        self._times, self._ids = [], []
        yield
        if not self._in_order:
            self.items = Items(
                (at, ids[ID_BYTES * number : ID_BYTES * (number + 1)]) for number, at in enumerate(times)
            )
            return
        yield from self.items.place(times, ids)


# -- what a session asks of its comparisons ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CompareOn:
    """Answer the next message of a comparison."""

    sub_id: str
    message: bytes


@dataclass(frozen=True, slots=True)
class CompareEnd:
    """Forget a comparison, silently."""

    sub_id: str


# -- the wire ---------------------------------------------------------------------------------------------------------


_encode = msgspec.json.Encoder().encode


def neg_message(sub_id: str, message: bytes) -> str:
    """Encode our side of a comparison as NIP-77's frame."""
    return _encode(("NEG-MSG", sub_id, message.hex())).decode()


def neg_error(sub_id: str, reason: str, items_max: int | None = None) -> str:
    """Encode the end of a comparison; where it was too large, with how much is not."""
    return _encode(("NEG-ERR", sub_id, reason, *([] if items_max is None else [items_max]))).decode()


def varint(number: int) -> bytes:
    """Encode a whole number: base 128, the most significant digit first."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes(reversed(digits))


class Writer:
    """Writes ranges, one after the other; neighbouring skips become one, and one at the end none."""

    def __init__(self) -> None:
        self._out = bytearray([VERSION])
        self._last = 0
        self._skipped: Key | None = None

    def __len__(self) -> int:
        return len(self._out)

    def skip(self, bound: Key) -> None:
        """Say that there is nothing to say up to a bound."""
        self._skipped = bound

    def add(self, one: Range) -> None:
        """Write what is said of a range."""
        if self._skipped is not None:
            self._bound(self._skipped)
            self._out += varint(SKIP)
            self._skipped = None
        self._bound(one.bound)
        if one.fingerprint is not None:
            self._out += varint(FINGERPRINT) + one.fingerprint
        else:
            assert one.ids is not None, "a skip has a method of its own"
            self._out += varint(IDS) + varint(len(one.ids)) + b"".join(one.ids)

    def done(self) -> bytes:
        """Give the message."""
        return bytes(self._out)

    def _bound(self, bound: Key) -> None:
        at, prefix = bound
        if at == INFINITY:
            self._out += b"\x00" + varint(len(prefix)) + prefix
        else:
            self._out += varint(1 + at - self._last) + varint(len(prefix)) + prefix
            self._last = at


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 1
        self._time, self._bound = 0, (0, b"")

    def ranges(self) -> Iterator[Range]:
        while self._at < len(self._data):
            bound = self._next_bound()
            match self._varint():
                case 0:
                    yield Range(bound)
                case 1:
                    yield Range(bound, fingerprint=self._take(PRINT_BYTES))
                case 2:
                    ids = self._take(ID_BYTES * self._varint())
                    yield Range(bound, ids=tuple(ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)))
                case mode:
                    raise Malformed(f"mode {mode} is not known")

    def _next_bound(self) -> Key:
        told = self._varint()
        prefix = self._take(self._length())
        # Once infinity was told, nothing can follow but infinity.
        self._time = INFINITY if told == 0 or self._time == INFINITY else self._time + told - 1
        bound = (min(self._time, INFINITY), prefix)
        if bound < self._bound:
            raise Malformed("the ranges are not in order")
        self._bound = bound
        return bound

    def _length(self) -> int:
        length = self._varint()
        if length > ID_BYTES:
            raise Malformed(f"a bound has at most {ID_BYTES} bytes of an id")
        return length

    def _varint(self) -> int:
        number = 0
        for _ in range(10):  # 64 bits
            (digit,) = self._take(1)
            number = number << 7 | digit & 0x7F
            if digit < 0x80:
                return number
        raise Malformed("a number has more than 64 bits")

    def _take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) < count:
            raise Malformed("the message ends too early")
        self._at += count
        return found


def ranges_of(message: bytes) -> list[Range]:
    """Read a message of our version; Malformed else."""
    if not message or message[0] != VERSION:
        raise Malformed("not a message of protocol version 1")
    return list(_Reader(message).ranges())


# -- the side that is asked -------------------------------------------------------------------------------------------


class Responder:
    """The side that is asked: it keeps nothing between messages but its items."""

    def __init__(self, items: Items, frame_bytes_max: int) -> None:
        assert frame_bytes_max >= FRAME_BYTES_MIN, frame_bytes_max
        self._items, self._bytes_max = items, frame_bytes_max

    def answer(self, message: bytes) -> bytes:
        """Answer a message; Malformed where it is none.

        An answer that would outgrow the frame limit ends with a fingerprint of all that is left, so that it is asked
        about again. A version that is not ours is answered with ours alone.
        """
        if message and message[0] != VERSION and 0x60 <= message[0] <= 0x6F:
            return bytes([VERSION])
        items, writer = self._items, Writer()
        begin = 0
        for one in ranges_of(message):
            end = items.find(one.bound, begin)
            if one.fingerprint is None and one.ids is None:
                writer.skip(one.bound)
            elif one.fingerprint is not None:
                self._compare(writer, one, begin, end)
            elif not self._list(writer, one.bound, begin, end):
                return writer.done()
            begin = end
            if len(writer) > self._bytes_max - _TAIL_BYTES:
                if one.bound[0] != INFINITY:
                    writer.add(Range(END, fingerprint=items.fingerprint(end, len(items))))
                break
        return writer.done()

    def _compare(self, writer: Writer, one: Range, begin: int, end: int) -> None:
        if one.fingerprint == self._items.fingerprint(begin, end):
            writer.skip(one.bound)
        else:
            for part in self._items.split(begin, end, one.bound):
                writer.add(part)

    def _list(self, writer: Writer, upper: Key, begin: int, end: int) -> bool:
        """List our ids of a range, as many as fit; False where they did not: the rest is told as a fingerprint."""
        items = self._items
        room = max((self._bytes_max - _TAIL_BYTES - len(writer)) // ID_BYTES, 1)
        if end - begin <= room:
            writer.add(Range(upper, ids=tuple(items.ids(begin, end))))
            return True
        until = begin + room
        writer.add(Range(items.bound(until), ids=tuple(items.ids(begin, until))))
        writer.add(Range(END, fingerprint=items.fingerprint(until, len(items))))
        return False
