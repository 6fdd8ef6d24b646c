"""The normal socket (relay-and-mirror §5): carries out what each connection's session asks for.

Invariant: effects of a connection are carried out one after another, so that a REQ behind an EVENT sees it stored, and
nothing is read while stored rows are being sent: a client's own reading sets the pace. Batches of EVENTs alone overlap,
`BATCHES_MAX` at a time. Replication frames are the mirror's, as they came. This module must not know HTTP or how tokens
are checked.
"""

import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol, assert_never

import msgspec
import trio
from cachetools import LRUCache

from gateway.config import Config, Relay
from gateway.limits.nostr import ACCOUNTS_MAX, BATCHES_MAX, STORED_BYTES
from gateway.limits.views import SCAN_ROWS
from gateway.negentropy import CompareEnd, CompareOn
from gateway.nostr import message as wire
from gateway.nostr.account import Account, Budget
from gateway.nostr.event import Event, stored_event, stored_form
from gateway.nostr.filter import Filter
from gateway.nostr.hyperloglog import HyperLogLog, hll_offset
from gateway.nostr.info import Presentation, document
from gateway.nostr.policy import Sender
from gateway.nostr.reader import Reader
from gateway.nostr.search import score
from gateway.nostr.session import (
    Compare,
    Comparison,
    Count,
    Effect,
    Replicate,
    Send,
    Session,
    Store,
    Subscribe,
    Unsubscribe,
)
from gateway.replication.grant import Grant
from gateway.replication.registration import INTERNAL
from gateway.serve.clock import Clock
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.port.framing import text_frame
from gateway.serve.port.socket import Socket
from gateway.serve.refusals import Refusals
from gateway.serve.relay.answers import Answers
from gateway.serve.relay.comparing import Comparing, ComparisonRefused, Comparisons
from gateway.serve.relay.intake import Intake
from gateway.serve.relay.live import LiveRows, Subscription
from gateway.serve.relay.membership import Membership
from gateway.serve.relay.recent import RecentPayloads
from gateway.serve.relay.shown import identities, shown
from gateway.serve.verify import Verifier
from gateway.views.events import EventsView
from gateway.views.eventscan import Ending, EventScan, NameScan, Row
from gateway.views.moderation import ModerationView

CHALLENGE_BYTES = 16
GOOD = frozenset({"accepted", "duplicate"})
HINTS = {True: ("finish",), False: ("more",), None: ()}  # whether an answer was whole (NIP-67)


class Replica(Protocol):
    """What the mirror keeps for one connection to the normal socket."""

    async def take_all(self, messages: Sequence[str | bytes], *, too_fast: bool = False) -> None: ...

    def leave(self) -> None: ...


class NostrService:
    """All sessions on normal sockets; ``replicate`` opens the mirror's side of one, where there is a mirror."""

    def __init__(self, config: Config, clock: Clock, ledger: Ledger, metrics: Metrics) -> None:
        self.moderation, view = ledger.view(ModerationView), ledger.view(EventsView)
        self.limits, self.metrics, self.log, self.view = config.relay, metrics, ledger.log, view
        self.clock, limits = clock, config.relay
        self.budget = Budget(limits.messages_per_s_max, limits.bytes_per_s_max)
        self.address_budget = Budget(
            limits.messages_per_s_per_address_max,
            limits.bytes_per_s_per_address_max,
            limits.subscriptions_per_address_max,
        )
        self._accounts: LRUCache[str, Account] = LRUCache(ACCOUNTS_MAX)
        self.replicate: Callable[[Socket, Grant], Replica] | None = None
        self.refusals = Refusals()
        self.verifier = Verifier()
        self.live = LiveRows(ledger, config.relay.private_kinds)
        self.scan, self.names, self.recent = EventScan(view), NameScan(view), RecentPayloads(ledger.log)
        self.comparisons = Comparisons()
        closed = limits.membership == "invite"
        self.membership = Membership(config, clock, ledger, self.scan, INTERNAL) if closed else None
        self.intake = Intake(config.relay, clock, ledger, self.verifier, self.live.deliver)

    def account(self, address: str) -> Account:
        """Give what the connections of an address use together; at `ACCOUNTS_MAX` the least recent starts afresh."""
        found = self._accounts.get(address)
        if found is None:
            found = self._accounts[address] = Account(self.address_budget)
        return found

    def reconfigure(self, limits: Relay) -> None:
        """Go by another policy, and tell of it (NIP-11); raise ConfigInvalid, and change nothing."""
        self.intake.reconfigure(limits)
        self.limits = limits

    def forget(self) -> None:
        """Let go of what is kept in memory of events: some were erased."""
        self.intake.forget()
        self.recent.forget()

    async def restate(self) -> None:
        """Say anew what the relay itself has said of what was erased."""
        if self.membership is not None:
            await self.membership.restate()

    def introduce(self, names: Callable[[str, str], bool]) -> None:
        """Tell how to know whether a URL (first) is that of a relay (its key, second)."""
        self.intake.names = names

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Verify signatures and send live rows, for ever."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.verifier.run)
                await nursery.start(self.live.run)
                if self.membership is not None:
                    await self.membership.begin()
                task_status.started()
        finally:
            with trio.CancelScope(shield=True):
                await self.intake.leave()

    async def serve(self, socket: Socket, grant: Grant) -> None:
        """Serve one connection until it ends; one from an address that is blocked ends at once."""
        for rules in self.intake.rules(grant.relay_key):
            refusal = rules.address_refusal(socket.peer)
            if refusal is not None:
                socket.close(1008, refusal)
                return
        socket.max_bytes = self.limits.message_bytes_max
        async with trio.open_nursery() as stores:
            connection = Connection(self, socket, grant, stores)
            if self.limits.auth_at_connect:
                connection.challenge()
            try:
                async for messages in socket.chunks():
                    await connection.take(messages)
            finally:
                connection.leave()

    def info(self, relay_key: str, relay: Presentation, version: str) -> bytes:
        """Build a relay's NIP-11 document; what its moderators call it goes before what its owner does."""
        words, members = self.moderation.words(relay_key), self.members_of(relay_key)
        restricted, own_key = (relay.restricted, "") if members is None else (True, members.pubkey)
        shown = replace(relay, **words, restricted=restricted, self_key=own_key)
        return document(self.limits, shown, version, self.moderation.rules(relay_key))

    def members_of(self, relay_key: str) -> Membership | None:
        """Give who belongs to a relay; None where it is not closed."""
        found = self.membership
        return found if found is not None and found.relay_key == relay_key else None


class Connection:
    """One connection: what it has open, and how its effects are carried out."""

    def __init__(self, service: NostrService, socket: Socket, grant: Grant, stores: trio.Nursery) -> None:
        self._service, self._socket, self._grant, self._stores = service, socket, grant, stores
        self._storing = 0
        self._stored = trio.lowlevel.ParkingLot()
        challenge = service.clock.random_bytes(CHALLENGE_BYTES).hex()
        self._session = Session(
            service.limits,
            challenge,
            lambda url: service.intake.names(url, grant.relay_key),
            (Account(service.budget), service.account(socket.peer)),
        )
        self._open: dict[str, Subscription] = {}
        self._replica: Replica | None = None
        self._comparing = Comparing(service.comparisons)

    def challenge(self) -> None:
        """Send what an AUTH must answer, unless it was sent."""
        for effect in self._session.challenge():
            assert isinstance(effect, Send)
            self._socket.send(effect.text)

    async def take(self, messages: Sequence[str | bytes]) -> None:
        """Do what the messages of one read ask for."""
        for effect in self._session.take(messages, self._service.clock.now_ms()):
            if self._socket.is_open:
                await self._carry_out(effect)

    def leave(self) -> None:
        """End everything that is open."""
        self._session.leave()
        for subscription in self._open.values():
            self._service.live.close(self._grant.relay_key, subscription)
        self._open.clear()
        self._comparing.leave()
        if self._replica is not None:
            self._replica.leave()

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Store(events, keys):
                await self._until_storing_below(BATCHES_MAX)
                self._storing += 1
                self._stores.start_soon(self._store, events, keys)
            case Send(text, refused):
                self._send(text, refused)
            case Subscribe(sub_id, filters):
                await self._until_storing_below(1)
                await self._subscribe(sub_id, filters)
            case Count(sub_id, filters):
                await self._until_storing_below(1)
                await self._count(sub_id, filters)
            case Compare() | CompareOn() | CompareEnd():
                await self._until_storing_below(1)
                await self._compare(effect)
            case Unsubscribe(sub_id):
                await self._end(sub_id)
            case Replicate(texts, too_fast):
                await self._replicate(texts, too_fast=too_fast)
            case _:
                assert_never(effect)

    def _send(self, text: str, refused: str) -> None:
        if refused:
            peer, relay, reason = self._socket.peer, self._grant.relay_key, wire.reason_of(text)
            self._service.refusals.tell(peer, what=f"nostr {refused}", relay=relay, reason=reason)
        if refused == "event":
            self._service.metrics.relay_events.labels("invalid").inc()
        self._socket.send(text)

    async def _until_storing_below(self, count: int) -> None:
        while self._storing >= count:
            await self._stored.park()

    def _reader(self) -> Reader:
        return self._session.reader(self._service.clock.now_ms() // 1000)

    async def _store(self, events: Sequence[Event], keys: frozenset[str]) -> None:
        """Store a batch and answer it, while the next ones are read: an fsync is waited for by nobody else."""
        try:
            await self._answer(events, keys)
        finally:
            self._storing -= 1
            self._stored.unpark_all()

    async def _answer(self, events: Sequence[Event], keys: frozenset[str]) -> None:
        service = self._service
        answers = await self._taken(events, Sender(keys, self._socket.peer))
        results = answers.results
        for result, count in results.items():
            service.metrics.relay_events.labels(result).inc(count)
            if result not in GOOD:
                service.refusals.tell(self._socket.peer, what="nostr event", relay=self._grant.relay_key, reason=result)
        if "auth-required" in results:
            self.challenge()
        self._socket.send_frames_now([answers.frames()])
        if self._socket.unread_bytes > STORED_BYTES:
            await self._socket.flushed()  # who publishes and never reads the OKs is not read either

    async def _taken(self, events: Sequence[Event], sender: Sender) -> Answers:
        """Have events taken in; at a closed relay its members' alone, and requests to join or leave it."""
        service, relay_key = self._service, self._grant.relay_key
        membership = service.members_of(relay_key)
        if membership is None:
            return await service.intake.take(relay_key, events, sender)
        passed, answers = await membership.sift(events, sender, service.verifier)
        return answers | await service.intake.take(relay_key, passed, sender)

    async def _end(self, sub_id: str) -> None:
        subscription = self._open.pop(sub_id, None)
        if subscription is not None:
            self._service.live.close(self._grant.relay_key, subscription)
        if self._replica is not None:
            await self._replica.take_all((wire.close(sub_id),))

    async def _replicate(self, texts: Sequence[str], *, too_fast: bool) -> None:
        if self._replica is None and self._service.replicate is not None:
            self._replica = self._service.replicate(self._socket, self._grant)
        if self._replica is not None:
            await self._replica.take_all(texts, too_fast=too_fast)
        else:
            self._socket.send(wire.notice("unsupported: this gateway has no mirror"))

    async def _subscribe(self, sub_id: str, filters: Sequence[Filter]) -> None:
        """Open, send what is stored, say EOSE, then let live rows through."""
        await self._end(sub_id)
        service, relay_key = self._service, self._grant.relay_key
        service.metrics.relay_requests.labels("relay").inc()
        subscription = service.live.open(relay_key, self._socket, wire.event_head(sub_id), filters, self._reader)
        self._open[sub_id] = subscription
        limits, reader, ending = service.limits, self._reader(), Ending()
        membership = service.members_of(relay_key)
        invitation = None if membership is None else membership.invite(filters, reader)
        if invitation is not None:
            self._socket.send_frames([subscription.frame(stored_form(invitation))])
        if any(one.search is not None for one in filters):
            await self._search(subscription, filters, reader)
            self._socket.send(wire.eose(sub_id))
            self._socket.send_frames(subscription.catch_up())
            return
        pages = service.scan.pages(
            relay_key,
            filters,
            subscription.seq_start,
            limits.limit_default,
            limits.limit_max,
            reader=reader,
            ending=ending,
        )
        last = b""  # of what was framed: it goes out together with its EOSE, in one write
        for number, page in enumerate(pages):
            if last:
                self._socket.send_frames_now([last])
            if number:
                await self._socket.flushed()
            last = await self._framed(subscription, page, filters, reader)
            if not self._socket.is_open:
                return
        end = wire.eose(sub_id, *HINTS[ending.is_whole]).encode()
        self._socket.send_frames_now([last + text_frame(end), *subscription.catch_up()])
        await self._socket.flushed()

    async def _search(self, subscription: Subscription, filters: Sequence[Filter], reader: Reader) -> None:
        """Send what a search finds, the best first (NIP-50): each filter by itself, each event once."""
        limits, sent = self._service.limits, set[int]()
        for asked in filters:
            limit = min(limits.limit_default if asked.limit is None else asked.limit, limits.limit_max)
            best: list[tuple[int, Row, bytes]] = []
            async for one in self._found(subscription.seq_start, asked, reader):
                best.append(one)
                if len(best) >= 2 * limit + SCAN_ROWS:
                    best = heapq.nlargest(limit, best)
            for _, row, raw in heapq.nlargest(limit, best):
                if row.seq not in sent:
                    sent.add(row.seq)
                    self._socket.send_frames([subscription.frame(raw)])
                    if self._socket.unread_bytes > STORED_BYTES:
                        await self._socket.flushed()

    async def _found(self, seq_end: int, asked: Filter, reader: Reader) -> AsyncIterator[tuple[int, Row, bytes]]:
        """Look through the newest events that the rest of a filter lets through: (score, row, event)."""
        service, most = self._service, self._service.limits.search_events_max
        wide = msgspec.structs.replace(asked, limit=None)
        for page in service.scan.pages(self._grant.relay_key, [wide], seq_end, most, most, reader=reader):
            for row, raw in shown(service.recent, page, (asked,), reader):
                yield score(asked.search or (), stored_event(raw).content), row, raw
            await trio.lowlevel.checkpoint()

    async def _count(self, sub_id: str, filters: Sequence[Filter]) -> None:
        """Count what is stored: exactly, up to ``count_max``; with registers where the filter has an offset."""
        service, most = self._service, self._service.limits.count_max
        service.metrics.relay_requests.labels("relay").inc()
        offset = hll_offset(filters[0]) if len(filters) == 1 else None
        registers = None if offset is None else HyperLogLog(offset)
        unlimited = [msgspec.structs.replace(one, limit=None) for one in filters]
        number, seq_end = 0, service.view.position
        for page in service.scan.pages(
            self._grant.relay_key, unlimited, seq_end, most + 1, most + 1, reader=self._reader()
        ):
            number += len(page)
            if registers is not None:
                for pubkey in service.view.pubkeys({row.author for row in page}):
                    registers.add(pubkey)
            await trio.lowlevel.checkpoint()
            if not self._socket.is_open:
                return
        hll = None if registers is None else registers.hex
        self._socket.send(wire.counted(sub_id, min(number, most), approximate=number > most, hll=hll))

    async def _compare(self, effect: Comparison) -> None:
        """Carry a comparison on (NIP-77); whatever ends it before its time is said."""
        try:
            text = await self._comparing.carry_on(effect, self._begin_to_compare)
        except ComparisonRefused as refused:
            self._session.compared(effect.sub_id)
            self._send(refused.text, "comparison")
            return
        if text is not None:
            self._socket.send(text)
            await self._socket.flushed()

    async def _begin_to_compare(self, effect: Compare) -> None:
        """Take together what the filters find for this reader, as it is stored now."""
        service, filters, reader = self._service, effect.filters, self._reader()
        service.metrics.relay_requests.labels("relay").inc()
        most = service.limits.compare_events_max
        pages = service.names.pages(
            self._grant.relay_key, filters, service.view.position, most + 1, most + 1, reader=reader
        )
        await self._comparing.begin(effect.sub_id, identities(service.log, pages, filters, reader), most)

    async def _framed(
        self, subscription: Subscription, page: Sequence[Row], filters: Sequence[Filter], reader: Reader
    ) -> bytes:
        """Frame those of a page that match; of more than `STORED_BYTES` the reader takes the first ones before."""
        raws: list[bytes] = []
        waiting = 0
        for _, raw in shown(self._service.recent, page, filters, reader):
            raws.append(raw)
            waiting += len(raw)
            if waiting > STORED_BYTES:
                self._socket.send_frames_now([subscription.frames(raws)])
                await self._socket.flushed()
                raws, waiting = [], 0
        return subscription.frames(raws)
