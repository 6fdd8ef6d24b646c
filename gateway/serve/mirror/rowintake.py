"""Rows on their way in: duplicates told apart, new ones recorded, answers given when they are durable.

Invariant: a row is answered "stored" or "duplicate" only when it, or the row that it repeats, is durable and in the
view; deciding and enqueueing happen without a pause between, over the view and what is in flight, so a repeat never
appends. This module must not know sockets or subscriptions.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
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


class InFlight(NamedTuple):
    """A row that was submitted and is not yet in the view."""

    kept: Kept
    ticket: Ticket


class RowIntake:
    """Takes rows for all relays; ``key`` is what the pseudonyms of writers are derived with."""

    def __init__(self, clock: Clock, ledger: Ledger, rows: RowsView, key: bytes = b"") -> None:
        self._clock, self._ledger, self._rows, self.key = clock, ledger, rows, key
        self._in_flight: defaultdict[Key, list[InFlight]] = defaultdict(list)
        self._submitted: deque[tuple[Key, InFlight]] = deque()  # in the order of the log

    async def take(self, relay_key: str, stores: Sequence[Store]) -> list[Answer]:
        """Answer each row. Cancelled: what was submitted may still be stored."""
        try:
            await self._ledger.log.room()
            answers, awaited = self._decide(relay_key, stores)
            for ticket in awaited:
                await ticket.wait()
        except LogFailed:
            return [FAILED] * len(stores)
        return answers

    def _decide(self, relay_key: str, stores: Sequence[Store]) -> tuple[list[Answer], set[Ticket]]:
        """Decide and enqueue a batch in one step; the tickets are what its answers depend on."""
        self._forget_applied()
        answers: list[Answer] = []
        awaited: set[Ticket] = set()
        fresh: dict[Key, list[Kept]] = defaultdict(list)
        facts: list[RowStored] = []
        added: list[Kept] = []
        made = [stored(each.row, relay_key, each.writer, is_open=each.is_open) for each in stores]
        standing = self._standing(made)
        next_seq = self._ledger.log.next_seq  # of the first new row: nothing comes between this and the submit
        for store, fact in zip(stores, made, strict=True):
            key = _key(fact)
            kept = Kept(writer_mark(fact.writer), fact.body_hash[:MARK_BYTES], next_seq + len(facts))
            flying = self._in_flight.get(key, ())
            if flying or key in standing or key in fresh:
                answer = _verdict(store.row, kept, [*standing.get(key, ()), *map(_kept, flying), *fresh.get(key, ())])
                awaited.update(each.ticket for each in flying)
            else:
                answer = _verdict(store.row, kept, ())
            answers.append(answer)
            if answer.result == STORED.result:
                fresh[key].append(kept)
                added.append(kept)
                facts.append(fact)
        if facts:
            awaited.add(self._submit(facts, added))
        return answers, awaited

    def _standing(self, facts: Sequence[RowStored]) -> dict[Key, list[Kept]]:
        """Look up what is kept under the ids of some rows, those of one namespace together."""
        if len(facts) == 1:
            relay_key, relay_id, row_id, is_open = key = _key(facts[0])
            return {key: self._rows.kept(relay_key, relay_id, row_id, is_open=is_open)}
        found: dict[Key, list[Kept]] = {}
        spaces: defaultdict[tuple[str, bytes, bool], list[bytes]] = defaultdict(list)
        for fact in facts:
            spaces[fact.relay_key, fact.relay_id, fact.is_open].append(fact.row_id)
        for (relay_key, relay_id, is_open), row_ids in spaces.items():
            for row_id, kept in self._rows.kept_many(relay_key, relay_id, row_ids, is_open=is_open).items():
                found[relay_key, relay_id, row_id, is_open] = kept
        return found

    def _submit(self, facts: Sequence[RowStored], added: Sequence[Kept]) -> Ticket:
        first, ticket = self._ledger.submit(self._drafts(facts))
        assert first == added[0].seq, "nothing came between"
        for fact, kept in zip(facts, added, strict=True):
            key = _key(fact)
            flying = InFlight(kept, ticket)
            self._in_flight[key].append(flying)
            self._submitted.append((key, flying))
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

    def _forget_applied(self) -> None:
        """Let go of what the view has meanwhile, or the log failed on; as many are kept as the log's queue holds."""
        while self._submitted and self._submitted[0][1].ticket.is_settled:
            key, flying = self._submitted.popleft()
            self._in_flight[key].remove(flying)
            if not self._in_flight[key]:
                del self._in_flight[key]


def _key(fact: RowStored) -> Key:
    return (fact.relay_key, fact.relay_id, fact.row_id, fact.is_open)


def _kept(each: InFlight) -> Kept:
    return each.kept


def _verdict(row: Row, kept: Kept, present: Sequence[Kept]) -> Answer:
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
