"""Retention: which records may go by the operator's rules, as a pure decision, and how it is written down.

Everything is kept for ever unless a rule says otherwise. What goes, goes by whole sealed segments: the oldest are
dropped once nothing in them is kept (or the log is over its size), and in those that stay the payloads of an expired
kind are nulled, which changes no leaf and no proof. A segment expires with its youngest record, and a clock that jumped
back makes it stay longer, never shorter.
Invariant: nothing goes that a view would still need: what is planned never reaches above ``cap``, the position from
which every view can be folded without it. This module must not know files, clocks or views.
"""

from collections.abc import Iterator, Mapping, Sequence

import cbor2
import msgspec

from eventlog.chronicle import PREFIX, Below, Retained
from eventlog.erasure import Change, without
from eventlog.errors import Corrupt
from eventlog.frame import Frame
from eventlog.limits import KIND_BYTES_MAX, RETENTION_STEP_RECORDS

FILE = "retention"
FILE_BYTES_MAX = 1024 * 1024
EVERY_KIND = "*"
DAY_NS = 86_400 * 10**9
_TAG, _VERSION = "heliograph-retention", 1


class Rule(msgspec.Struct, frozen=True):
    """How long the payloads of some kinds stay, and how many bytes of them; None: for ever, or all."""

    age_ns_max: int | None = None
    bytes_max: int | None = None


class Rules(msgspec.Struct, frozen=True):
    """What the operator wrote: a rule by kind, by family (``push.``) or for every kind (``*``), and a total size."""

    kinds: Mapping[str, Rule] = {}
    total_bytes_max: int | None = None

    def __bool__(self) -> bool:
        return bool(self.kinds) or self.total_bytes_max is not None

    @property
    def age_ns_min(self) -> int | None:
        """The shortest age that a rule names."""
        return min((rule.age_ns_max for rule in self.kinds.values() if rule.age_ns_max is not None), default=None)

    def of(self, kind: str) -> Rule:
        """Give the rule for a kind: its own, else that of its longest family. The log's own kinds are always kept."""
        if kind.startswith(PREFIX):
            return Rule()
        families = [name for name in self.kinds if name.endswith(".") and kind.startswith(name)]
        name = kind if kind in self.kinds else max(families, key=len, default=EVERY_KIND)
        return self.kinds.get(name, Rule())


class Census(msgspec.Struct, frozen=True):
    """One segment: its seqs, its file's bytes, its youngest record's time, and by kind the payload bytes still there.

    A kind whose payloads are all gone stands here with 0.
    """

    first_seq: int
    end_seq: int
    file_bytes: int
    youngest_ns: int
    payload_bytes: Mapping[str, int]


class State(msgspec.Struct, frozen=True):
    """What retention took or, while not ``done``, is about to take: all before ``first_seq``, and ``below`` by kind."""

    first_seq: int = 0
    below: Mapping[str, int] = {}
    done: bool = True

    def floor(self, kinds: frozenset[str]) -> int:
        """Give the seq from which a view of these kinds can be folded, whatever retention took."""
        return max([self.first_seq, *(seq for kind, seq in self.below.items() if kind in kinds)])

    def entry(self) -> Retained:
        """Tell it as the log's own record does."""
        return Retained(self.first_seq, tuple(Below(kind, seq) for kind, seq in sorted(self.below.items())))

    def expired(self, kind: str, seq: int) -> bool:
        """Whether this record's payload is to go."""
        return seq < max(self.first_seq, self.below.get(kind, 0))

    def joined(self, entry: Retained) -> "State":
        """Take in what a record of the log says was taken."""
        below = dict(self.below)
        for one in entry.below:
            below[one.kind] = max(below.get(one.kind, 0), one.seq)
        return State(max(self.first_seq, entry.first_seq), below, self.done)


def plan(sealed: Sequence[Census], rules: Rules, state: State, *, now_ns: int, cap: int, open_bytes: int) -> State:
    """Decide what is to go: a `State` that is not done, or the one given where nothing new is to go.

    ``sealed`` are the segments that grow no more, in order, ``open_bytes`` the size of the one that does. ``cap`` is
    the seq that nothing planned may reach beyond.
    """
    within = [one for one in sealed if one.end_seq <= cap]
    expired = {kind: _expired_below(sealed, within, kind, rules, now_ns) for kind in _kinds(sealed)}
    below = {kind: max(seq, state.below.get(kind, 0)) for kind, seq in expired.items()}
    below |= {kind: seq for kind, seq in state.below.items() if kind not in below}
    below = {kind: seq for kind, seq in below.items() if seq}
    first_seq = max(state.first_seq, _empty_below(within, below), _over_below(sealed, within, rules, open_bytes))
    found = State(first_seq, below, done=False)
    return found if first_seq > state.first_seq or any(due(one, found) for one in within) else state


def _kinds(censuses: Sequence[Census]) -> list[str]:
    return sorted({kind for one in censuses for kind in one.payload_bytes})


def _expired_below(sealed: Sequence[Census], within: Sequence[Census], kind: str, rules: Rules, now_ns: int) -> int:
    """Give the segment border below which a kind's payloads have expired, by age or by size; 0 for none."""
    rule = rules.of(kind)
    by_age = 0
    if rule.age_ns_max is not None:
        for one in within:
            if one.youngest_ns > now_ns - rule.age_ns_max:
                break
            by_age = one.end_seq
    if rule.bytes_max is None:
        return by_age
    room = rule.bytes_max
    for one in reversed(sealed):
        room -= one.payload_bytes.get(kind, 0)
        if room < 0:
            return max(by_age, min(one.end_seq, within[-1].end_seq if within else 0))
    return by_age


def _empty_below(within: Sequence[Census], below: Mapping[str, int]) -> int:
    """Give the border below which no segment holds anything that is kept: the log's own records alone keep none."""
    border = 0
    for one in within:
        if any(below.get(kind, 0) < one.end_seq for kind in one.payload_bytes if not kind.startswith(PREFIX)):
            break
        border = one.end_seq
    return border


def _over_below(sealed: Sequence[Census], within: Sequence[Census], rules: Rules, open_bytes: int) -> int:
    """Give the border below which the oldest segments go because the log is larger than it may be."""
    if rules.total_bytes_max is None:
        return 0
    over = open_bytes + sum(one.file_bytes for one in sealed) - rules.total_bytes_max
    border = 0
    for one in within:
        if over <= 0:
            break
        over, border = over - one.file_bytes, one.end_seq
    return border


def steps(before: State, after: State) -> Iterator[Retained]:
    """Tell a plan in steps, so that no view has to let go of more than RETENTION_STEP_RECORDS at once.

    The last step says all of it. A view that folds one step holds up everybody for as long as its deletions take.
    """
    kinds = sorted(after.below)
    ends = [after.first_seq, *after.below.values()]
    low = min([before.first_seq, *(before.below.get(kind, before.first_seq) for kind in kinds)])
    for at in range(low + RETENTION_STEP_RECORDS, max(ends), RETENTION_STEP_RECORDS):
        below = {kind: min(after.below[kind], at) for kind in kinds}
        yield State(min(after.first_seq, at), below).entry()
    yield after.entry()


def expiring(state: State, salt: int) -> Change:
    """Give the change that takes away the payloads that have expired; ``salt`` is what the log's CRCs start from."""

    def change(frame: Frame) -> bytes:
        records = frame.records()
        gone = [one.seq for one in records if one.payload is not None and state.expired(one.kind, one.seq)]
        return without(frame, gone, salt) if gone else frame.raw()

    return change


def due(one: Census, state: State) -> bool:
    """Whether a segment that stays holds payloads that are to go."""
    return any(count and state.below.get(kind, 0) >= one.end_seq for kind, count in one.payload_bytes.items())


def encode(state: State) -> bytes:
    """Write the state down."""
    return cbor2.dumps([_TAG, _VERSION, state.first_seq, sorted(map(list, state.below.items())), state.done])


def decode(data: bytes) -> State:
    """Read the state back; Corrupt if it is none."""
    try:
        fields = cbor2.loads(data)
        if not isinstance(fields, list) or fields[:2] != [_TAG, _VERSION]:
            raise Corrupt("this is not what retention wrote, or a newer release wrote it")
        first_seq, below, done = fields[2:]
        state = msgspec.convert({"first_seq": first_seq, "below": dict(below), "done": done}, type=State)
    except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
        raise Corrupt("the state of retention is not of the shape") from error
    if state.first_seq < 0 or any(seq < 0 or len(kind) > KIND_BYTES_MAX for kind, seq in state.below.items()):
        raise Corrupt("the state of retention is out of bounds")
    return state
