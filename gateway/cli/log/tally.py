"""What a log's records add up to for a report: counts by kind, by day, by tenant and relay, and what the log did to
itself.

Invariant: nothing is counted that no record says. Refused requests leave no record; what is told here as not delivered
is what `push.settled` records say of notifications that were accepted.
"""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Sequence

import msgspec

from eventlog.chronicle import PREFIX, AnyEntry, entry_of
from eventlog.record import Record
from gateway.facts import FACTS, Accepted, EventStored, Fact, Settled, event_of, fact_of
from gateway.limits.client import REPORT_ACCEPTED_MAX

HOUR_NS = 3_600 * 10**9
DELIVERED = "delivered"
UNKNOWN = "accepted too long before"


class KindCount(msgspec.Struct):
    """What there is of one kind."""

    records: int = 0
    payload_bytes: int = 0
    without_payload: int = 0
    first_ns: int = 0
    last_ns: int = 0


class Tally:
    """The sums; `take` every record once, in order."""

    def __init__(self) -> None:
        self.kinds: defaultdict[str, KindCount] = defaultdict(KindCount)
        self.hours: defaultdict[int, Counter[str]] = defaultdict(Counter)  # hour since 1970 -> family -> records
        self.tenants: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.relays: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.own: list[tuple[Record, AnyEntry]] = []
        # Which tenant's an accepted notification was: what is settled later names only its seq.
        self._accepted: OrderedDict[int, str] = OrderedDict()

    def take(self, records: Sequence[Record]) -> None:
        """Count records of known kinds; FactUnknown or Corrupt where a payload is not of its kind."""
        for record in records:
            self._count(record)
            if record.kind.startswith(PREFIX):
                entry = entry_of(record)
                if entry is not None:
                    self.own.append((record, entry))
            elif record.kind == EventStored.kind:
                event = event_of(record)
                self.relays[event[0] if event else ""][record.kind] += 1
            elif record.kind in FACTS:
                self._fact(record, fact_of(record))

    def _count(self, record: Record) -> None:
        kind = self.kinds[record.kind]
        kind.first_ns = kind.first_ns if kind.records else record.ts_ns
        kind.records += 1
        kind.last_ns = record.ts_ns
        if record.payload is None:
            kind.without_payload += 1
        else:
            kind.payload_bytes += len(record.payload)
        self.hours[record.ts_ns // HOUR_NS][record.kind.partition(".")[0]] += 1

    def _fact(self, record: Record, fact: Fact | None) -> None:
        """Count a fact with whom it is about; one without payload is counted under no name."""
        family = record.kind.partition(".")[0]
        tenant = getattr(fact, "tenant", None) or self._accepted.get(getattr(fact, "accepted_seq", -1), "")
        if isinstance(fact, Accepted):
            self._accepted[record.seq] = fact.tenant
            if len(self._accepted) > REPORT_ACCEPTED_MAX:
                self._accepted.popitem(last=False)
        if isinstance(fact, Settled):
            self.outcomes[fact.outcome, fact.reason] += 1
            tenant = tenant or UNKNOWN
        if family == "push":
            self.tenants[tenant][record.kind] += 1
        else:
            self.relays[getattr(fact, "relay_key", "")][record.kind] += 1
