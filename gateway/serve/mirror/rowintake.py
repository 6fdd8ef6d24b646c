"""Rows on their way in: duplicates told apart, new ones recorded, answers given when they are durable.

Invariant: a row is answered "stored" or "duplicate" only when it, or the row that it repeats, is durable and in the
view; deciding and enqueueing happen without a pause between, over the view and what is in flight, so a repeat never
appends. This module must not know sockets or subscriptions.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from eventlog.errors import LogFailed
from eventlog.record import Draft
from gateway.facts import SALT_BYTES, RowStored, row_draft
from gateway.limits.mirror import BODIES_PER_ROW_MAX
from gateway.nostr.event import Event, flaw
from gateway.nostr.signature import Claim, holds
from gateway.replication.row import Row, stored
from gateway.replication.session import Store
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger, Ticket
from gateway.serve.pseudonym import pseudonym
from gateway.views.rows import MARK_BYTES, Kept, RowsView, writer_mark

Key = tuple[str, bytes, bytes, bool]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What an OK says, the label that the metrics count it under, and where the row stands in the log, if it does."""

    accepted: bool
    reason: str
    result: str
    seq: int | None = None


STORED = Answer(True, "stored", "stored")
DUPLICATE = Answer(True, "duplicate: already stored", "duplicate")
CROWDED = Answer(False, f"blocked: {BODIES_PER_ROW_MAX} differing rows are stored under this id", "blocked")
FAILED = Answer(False, "append-error: the log takes no records now", "append-error")


class Flight(NamedTuple):
    """Rows that were submitted together and are not yet in the view, by their ids."""

    rows: dict[Key, list[Kept]]
    ticket: Ticket


class RowIntake:
    """Takes rows for all relays; ``key`` is what the pseudonyms of writers are derived with."""

    def __init__(self, clock: Clock, ledger: Ledger, rows: RowsView, key: bytes = b"") -> None:
        self._clock, self._ledger, self._rows, self.key = clock, ledger, rows, key
        self._flights: deque[Flight] = deque()  # in the order of the log
        self._flying: dict[Key, list[Kept]] = {}  # the rows of all of them

    async def take(self, relay_key: str, stores: Sequence[Store]) -> list[Answer]:
        """Answer each row. Cancelled: what was submitted may still be stored."""
        try:
            await self._ledger.log.room()
            answers, ticket = self._decide(relay_key, stores)
            if ticket is not None:
                await ticket.wait()
        except LogFailed:
            return [FAILED] * len(stores)
        return answers

    def _decide(self, relay_key: str, stores: Sequence[Store]) -> tuple[list[Answer], Ticket | None]:
        """Decide and enqueue a batch in one step; the ticket is what its answers depend on."""
        self._land()
        made = [stored(each.row, relay_key, each.writer, is_open=each.is_open) for each in stores]
        keys = [(fact.relay_key, fact.relay_id, fact.row_id, fact.is_open) for fact in made]
        standing, flying, fresh = self._standing(keys), self._flying, dict[Key, list[Kept]]()
        answers, facts, repeated = list[Answer](), list[RowStored](), list[Kept]()
        next_seq = self._ledger.log.next_seq  # of the first new row: nothing comes between this and the submit
        for store, fact, key in zip(stores, made, keys, strict=True):
            kept = Kept(writer_mark(fact.writer), fact.body_hash[:MARK_BYTES], next_seq + len(facts))
            present: Collection[Kept] = ()
            if key in flying or key in standing or key in fresh:
                # Each once: of what is more than a frame, the first part may be in the view while all of it flies.
                present = dict.fromkeys((*standing.get(key, ()), *flying.get(key, ()), *fresh.get(key, ())))
                repeated += flying.get(key, ())
            answer = _verdict(store.row, kept, present)
            answers.append(answer)
            if answer.result == STORED.result:
                fresh.setdefault(key, []).append(kept)
                facts.append(fact)
        return answers, self._submit(facts, fresh, next_seq) if facts else self._ticket_of(repeated)

    def _standing(self, keys: Sequence[Key]) -> dict[Key, list[Kept]]:
        """Look up what is kept under some ids, those of one namespace together."""
        spaces: defaultdict[tuple[str, bytes, bool], list[bytes]] = defaultdict(list)
        for relay_key, relay_id, row_id, is_open in keys:
            spaces[relay_key, relay_id, is_open].append(row_id)
        return {
            (relay_key, relay_id, row_id, is_open): kept
            for (relay_key, relay_id, is_open), row_ids in spaces.items()
            for row_id, kept in self._rows.kept_many(relay_key, relay_id, row_ids, is_open=is_open).items()
        }

    def _submit(self, facts: Sequence[RowStored], fresh: dict[Key, list[Kept]], next_seq: int) -> Ticket:
        first, ticket = self._ledger.submit(self._drafts(facts))
        assert first == next_seq, "nothing came between"
        self._flights.append(Flight(fresh, ticket))
        for key, kept in fresh.items():
            self._flying[key] = [*self._flying[key], *kept] if key in self._flying else kept
        return ticket

    def _drafts(self, facts: Sequence[RowStored]) -> list[Draft]:
        assert self.key, "the mirror was introduced"
        now_ns = self._clock.now_ns()
        salts = self._clock.random_bytes(SALT_BYTES * len(facts))
        return [
            row_draft(
                fact,
                ts_ns=now_ns,
                subject=pseudonym(self.key, fact.relay_key, fact.writer),
                salt=salts[at * SALT_BYTES : (at + 1) * SALT_BYTES],
            )
            for at, fact in enumerate(facts)
        ]

    def _ticket_of(self, flying: Sequence[Kept]) -> Ticket | None:
        """Give what says that rows in flight are in the view: they get there in the order of the log."""
        if not flying:
            return None
        last = max(each.seq for each in flying)
        return next(flight.ticket for flight in self._flights if last < flight.ticket.seq_end)

    def _land(self) -> None:
        """Let go of what the view has meanwhile, or the log failed on; as many are kept as the log's queue holds."""
        flying = self._flying
        while self._flights and self._flights[0].ticket.is_settled:
            for key, landed in self._flights.popleft().rows.items():
                left = flying.pop(key)[len(landed) :]
                if left:
                    flying[key] = left


def _verdict(row: Row, kept: Kept, present: Collection[Kept]) -> Answer:
    """Decide one row against those under its id: a subject has one body there, and bodies are few."""
    for each in present:
        if kept.body_hash == each.body_hash or kept.writer == each.writer:
            return Answer(DUPLICATE.accepted, DUPLICATE.reason, DUPLICATE.result, each.seq)
    if len(present) >= BODIES_PER_ROW_MAX:
        return CROWDED
    found = flaw_as_event(row) if row.signed else None
    if found is not None:
        return Answer(False, f"invalid-event: {found}", "invalid-event")
    return Answer(STORED.accepted, STORED.reason, STORED.result, kept.seq)


def flaw_as_event(row: Row) -> str | None:
    """Say what is wrong with a row that claims an author, as NIP-01 would."""
    try:
        event = msgspec.json.decode(row.text, type=Event)
    except (ValueError, RecursionError) as error:
        return str(error)
    found = flaw(event)
    if found is None and not holds(Claim(event.pubkey, event.id, event.sig)):
        return "the signature does not verify"
    return found
