"""The mirror: replication frames carried out, on its own socket and, as a replica, beside the normal one.

    frames ─▶ session (pure) ─▶ rows: decide, record, OK when durable   (gateway.serve.mirror.rowintake)
                             └▶ REQ: stored rows, EOSE, then what the log's cursor brings
                                └▶ with a cursor: the log from there, by itself             (gateway.serve.mirror.pull)
Invariants: a row goes to the log and to subscribers, never to a peer; every REQ that is accepted is answered with EOSE
exactly once; a subscription's stored and live rows meet at one position of the log, so none is lost and none comes
twice. A mirror session ends when its token does. This module must not know HTTP or how a token is checked.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol, assert_never

import cbor2
import trio

from eventlog.errors import Removed
from eventlog.record import Record
from gateway.config import Config
from gateway.errors import SocketRefused
from gateway.facts import SALT_BYTES, RowStored, stored_row
from gateway.limits.mirror import EXPIRY_CHECK_S_MAX, NEG_PAGE_ROWS, NEG_ROWS_MAX, PULL_RECORDS, ROWS_PER_SLICE
from gateway.limits.nostr import STORED_BYTES
from gateway.negentropy import CompareEnd, CompareOn
from gateway.replication import frame as wire
from gateway.replication.audience import Audience, Listener, Subscription
from gateway.replication.cursor import CursorUnknown
from gateway.replication.grant import Grant
from gateway.replication.registration import Relay
from gateway.replication.session import (
    Compare,
    Comparison,
    Drop,
    Effect,
    Refuse,
    Rejected,
    Renew,
    Search,
    Session,
    Store,
    StoreMany,
)
from gateway.replication.token import Claims
from gateway.serve.clock import Clock
from gateway.serve.custody.receipts import OPTION, receipt
from gateway.serve.ledger import Ledger
from gateway.serve.metrics import Metrics
from gateway.serve.mirror.delegation import OPTION as DELEGATED
from gateway.serve.mirror.delegation import Delegation
from gateway.serve.mirror.pull import OLD, Found, Places, Selection, frames, plain_frames, taken
from gateway.serve.mirror.rowintake import STORED, Answer, RowIntake
from gateway.serve.port.socket import Socket
from gateway.serve.refusals import Refusals
from gateway.serve.relay.comparing import Comparing, ComparisonRefused, Comparisons
from gateway.views.rows import RowsView


class Tokens(Protocol):
    """What renewals need of the handshakes."""

    def recheck(self, token: str, relay: Relay) -> Claims: ...

    def renewed(self, socket: Socket, grant: Grant) -> None: ...


class MirrorService:
    """All replication sessions; `introduce` it before it serves."""

    def __init__(self, config: Config, clock: Clock, ledger: Ledger, metrics: Metrics) -> None:
        rows = ledger.view(RowsView)
        self.config, self.clock, self.metrics, self.rows, self.log = config.mirror, clock, metrics, rows, ledger.log
        self.tokens: Tokens | None = None
        self.refusals = Refusals()
        self.audience = Audience()
        self.sockets: dict[Listener, Socket] = {}
        self.intake = RowIntake(clock, ledger, rows)
        self.places = Places(ledger.log, rows)
        self.comparisons = Comparisons()
        self.delegation = Delegation(config.mirror.trusted_peers, clock)
        self._ledger = ledger

    def introduce(self, tokens: Tokens, key: bytes) -> None:
        """Name who checks tokens, and the key that pseudonyms are derived with; before anything is served."""
        self.tokens, self.intake.key = tokens, key

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Send live rows for ever: follow the log, never ahead of the view."""
        follower = self.log.follow(self.rows.position)
        task_status.started()
        async for records in follower:
            await self._ledger.caught_up(records[-1].seq + 1)
            for at in range(0, len(records), ROWS_PER_SLICE):
                self._tell(records[at : at + ROWS_PER_SLICE])
                await trio.lowlevel.checkpoint()

    async def serve(self, socket: Socket, grant: Grant) -> None:
        """Serve one mirror connection until it ends or its token does."""
        socket.max_bytes = self.config.frame_bytes_max
        replica = self.replica(socket, grant)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(replica.expire)
            try:
                async for messages in socket.chunks():
                    await replica.take_all(messages)
            finally:
                replica.leave()
            nursery.cancel_scope.cancel()

    def replica(self, socket: Socket, grant: Grant) -> "Replica":
        """Open the mirror's side of a connection; whoever opens it has it `leave`."""
        return Replica(self, socket, grant)

    def _tell(self, records: Sequence[Record]) -> None:
        """Send a few records' rows to whoever asked for them; all rows for one socket in one go."""
        found: dict[Subscription, list[Found]] = defaultdict(list)
        now_ms = self.clock.now_ms()
        for record in records:
            fact = stored_row(record) if self.audience and record.kind == RowStored.kind else None
            if fact is not None:
                for subscription in self.audience.of(fact, record.seq, now_ms):
                    found[subscription].append(Found(fact.row, record))
        out: dict[Socket, list[str]] = defaultdict(list)
        for subscription, rows in found.items():
            out[self.sockets[subscription.session]] += self.frames(subscription, rows)
        for socket, texts in out.items():
            socket.send_many(texts)

    def frames(self, subscription: Subscription, found: Sequence[Found]) -> Iterator[str]:
        """Wrap rows as a subscription asked for them; cursors are for those who asked by cursor."""
        return frames(subscription, found, None if subscription.after is None else self.places.cursors)


class Replica:
    """One connection's replication: its session's effects, carried out in order."""

    def __init__(self, service: MirrorService, socket: Socket, grant: Grant) -> None:
        self._service, self._socket = service, socket
        self._session = Session(grant, service.config)
        self._listening: set[Subscription] = set()  # what the audience has of ours
        self._comparing = Comparing(service.comparisons)
        service.sockets[self._session] = socket

    async def take_all(self, messages: Sequence[str | bytes], *, too_fast: bool = False) -> None:
        """Carry out the frames of one read; neighbouring rows are decided, recorded and answered together.

        Those that came ``too_fast`` are refused.
        """
        stores: list[Store] = []
        take = self._session.refuse_for_rate if too_fast else self._session.take
        for message in messages:
            for effect in take(message, self._service.clock.now_ms()):
                if isinstance(effect, Store):
                    stores.append(effect)
                    continue
                await self._store(stores)
                stores = []
                if self._socket.is_open:
                    await self._carry_out(effect)
        await self._store(stores)

    def leave(self) -> None:
        """End everything that is open."""
        # Not what the session thinks is open: a CLOSE that came with the peer's close frame was taken, not carried out.
        self._session.leave()
        for subscription in self._listening:
            self._service.audience.remove(subscription)
        self._service.sockets.pop(self._session, None)
        self._comparing.leave()

    async def expire(self) -> None:
        """Close the socket when its token expires; looks at wall time often, since that may jump."""
        while self._socket.is_open:
            claims = self._session.grant.claims
            left_ms = claims.expires_at - self._service.clock.now_ms() if claims else 0
            if left_ms <= 0:
                self._service.metrics.replication_frames.labels("SESSION", "closed", "expired-token").inc()
                self._socket.close(4403, "Token expired")
                return
            await trio.sleep(min(left_ms / 1000, EXPIRY_CHECK_S_MAX))

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Store():
                await self._store([effect])
            case StoreMany(entries):
                await self._store_many(entries)
            case Search(subscription, notice):
                await self._search(subscription, notice)
            case Drop(subscription):
                self._service.audience.remove(subscription)
                self._listening.discard(subscription)
            case Compare() | CompareOn() | CompareEnd():
                await self._compare(effect)
            case Renew(token):
                self._renew(token)
            case Refuse(frame, reason, texts):
                self._refuse(frame, reason, texts)
            case _:
                assert_never(effect)

    def _refuse(self, frame: str, reason: str, texts: Sequence[str]) -> None:
        self._count(frame, "rejected", reason)
        self._socket.send_many(texts)

    def _count(self, frame: str, outcome: str, reason: str, count: int = 1) -> None:
        self._service.metrics.replication_frames.labels(frame, outcome, reason).inc(count)
        if outcome == "rejected":
            relay_key = self._session.grant.relay_key
            self._service.refusals.tell(self._socket.peer, what=f"replication {frame}", relay=relay_key, reason=reason)

    def _count_all(self, frame: str, answers: Sequence[Answer], rejected: Iterable[str] = ()) -> None:
        told = Counter((answer.accepted, answer.result) for answer in answers)
        told.update((False, metric) for metric in rejected)
        for (accepted, result), count in told.items():
            self._count(frame, "accepted" if accepted else "rejected", result, count)

    async def _store(self, stores: Sequence[Store]) -> None:
        """Keep rows and answer their OKs together, each behind its notice."""
        if not stores:
            return
        texts = []
        answers = await self._service.intake.take(self._session.grant.relay_key, stores)
        for store, answer in zip(stores, answers, strict=True):
            texts += [store.notice] if store.notice and answer.accepted else []
            texts.append(wire.ok(store.row.id, answer.accepted, answer.reason, self._receipt(store, answer)))
        self._count_all("EVENT", answers)
        self._socket.send_many(texts)
        if self._socket.unread_bytes > STORED_BYTES:
            await self._socket.flushed()  # who publishes and never reads the OKs is not read either

    async def _store_many(self, entries: Sequence[Store | Rejected]) -> None:
        """Keep the rows of one EVENTS and answer them with one OKS, in their order."""
        stores = [entry for entry in entries if isinstance(entry, Store)]
        answers = await self._service.intake.take(self._session.grant.relay_key, stores)
        self._count_all("EVENTS", answers, (entry.metric for entry in entries if isinstance(entry, Rejected)))
        lines, told = list[Sequence[object]](), iter(answers)
        for entry in entries:
            if isinstance(entry, Rejected):
                lines.append((entry.row_id, False, entry.reason))
                continue
            answer = next(told)
            line = (entry.row.id, answer.accepted, "" if answer.result == STORED.result else answer.reason)
            receipt = self._receipt(entry, answer)
            lines.append(line if receipt is None else (*line, receipt))
        self._socket.send(wire.oks(lines))  # no notices: EVENTS are taken on the mirror alone, where all have tokens
        if self._socket.unread_bytes > STORED_BYTES:
            await self._socket.flushed()

    def _receipt(self, store: Store, answer: Answer) -> dict[str, object] | None:
        """Say where the row stands, to who asked for it with the frame or for the whole session."""
        if not (store.receipts or self._socket.query.get(OPTION) == "true"):
            return None
        return receipt(self._service.log, answer.seq) if answer.accepted and answer.seq is not None else None

    def _renew(self, token: str) -> None:
        """Carry on with a token of the same subject; with the old one where the new is not good."""
        grant, tokens = self._session.grant, self._service.tokens
        assert tokens is not None, "introduced before it serves"
        try:
            claims = tokens.recheck(token, grant.relay)
            self._session.renew(claims)
        except SocketRefused as refused:
            self._refuse("AUTH", refused.metric, (wire.notice(f"token refused: {refused.reason}"),))
            return
        tokens.renewed(self._socket, self._session.grant)
        self._count("AUTH", "accepted", "renewed")
        self._socket.send(wire.renewed(claims.expires_at))

    async def _compare(self, effect: Comparison) -> None:
        """Carry one comparison of rows on (NIP-77); whatever ends it before its time is said."""
        try:
            text = await self._comparing.carry_on(effect, self._begin_to_compare)
        except ComparisonRefused as refused:
            self._refuse("NEG", refused.metric, (refused.text,))
            return
        if text is not None:
            await self._sent((text,))

    async def _begin_to_compare(self, effect: Compare) -> None:
        session, asked = self._session, effect.filter
        visible = session.visible(self._service.clock.now_ms())
        pages = self._service.rows.identities(session.grant.relay_key, asked, visible, NEG_PAGE_ROWS)
        await self._comparing.begin(effect.sub_id, pages, NEG_ROWS_MAX, asked.limit)
        self._count("NEG", "accepted", "opened")

    # -- subscriptions ------------------------------------------------------------------------------------------------

    async def _search(self, subscription: Subscription, notice: str) -> None:
        """Send what is stored, EOSE, what came meanwhile; then let live rows through."""
        service, rows = self._service, self._service.rows
        self._count("REQ", "accepted", "open" if notice else "tokened")
        service.metrics.relay_requests.labels("mirror").inc()
        if notice:
            self._socket.send(notice)
        service.audience.add(subscription)
        self._listening.add(subscription)
        relay_key, visible = self._session.grant.relay_key, self._session.visible(service.clock.now_ms())
        if subscription.after is not None:
            await self._go_on(subscription, subscription.after, visible)
            return
        position, given = rows.position, set[bytes]()
        sent = await self._send_rows(subscription, rows.newest(relay_key, subscription.filters, visible))
        if False in visible and self._socket.query.get(DELEGATED) != "1":
            given = await self._delegate(subscription, sent)
        self._socket.send(wire.eose(subscription.sub_id))
        await self._catch_up(subscription, position, visible, given)

    async def _go_on(self, subscription: Subscription, after: str, visible: frozenset[bool]) -> None:
        """Send what lies behind a cursor, or say that it leads nowhere any more."""
        try:
            start = self._service.places.start(after, self._session.grant.relay_key)
            await self._pull(subscription, start, visible)
        except (CursorUnknown, Removed) as gone:
            reason = str(gone if isinstance(gone, CursorUnknown) else CursorUnknown(OLD))
            await self._carry_out(Drop(subscription))
            await self._carry_out(self._session.refuse(subscription, reason, "cursor-unknown"))

    async def _catch_up(
        self, subscription: Subscription, position: int, visible: frozenset[bool], given: Collection[bytes]
    ) -> None:
        """Send what came since ``position``, save the rows ``given`` before; then live rows go through.

        The log moved on while a slow reader took its rows: it is followed until nothing is left, and only then, without
        a pause in between, the subscription is live. Holding rows back in memory instead would need a bound and a cut.
        """
        service, relay_key = self._service, self._session.grant.relay_key
        follower = service.log.follow(position)
        selection = Selection(relay_key, subscription.filters, visible)
        while follower.position < service.log.durable_size and self._socket.is_open:
            try:
                records = await anext(follower)
            except Removed as gone:  # retention was faster than the reader
                follower = service.log.follow(gone.first_seq)
                continue
            for at in range(0, len(records), PULL_RECORDS):
                found = selection.of(records[at : at + PULL_RECORDS])
                texts = [each.row for each in found if not given or row_id_of(each.record) not in given]
                await self._sent(plain_frames(subscription, texts))
        subscription.position = follower.position

    async def _delegate(self, subscription: Subscription, sent: set[bytes]) -> set[bytes]:
        """Send what the relay's peers have more; give its ids. Whoever asks for us, another gateway, asks itself."""
        service = self._service
        if not service.delegation.peers_of(self._session.grant.relay_key) or not self._socket.is_open:
            return set()
        service.metrics.relay_requests.labels("delegated").inc()
        found = await service.delegation.rows(self._session.grant.relay_key, subscription.filters, sent)
        await self._sent(plain_frames(subscription, [row.text for row in found]))
        return {bytes.fromhex(row.id) for row in found}

    async def _send_rows(
        self, subscription: Subscription, seqs: Sequence[int], but: Collection[bytes] = ()
    ) -> set[bytes]:
        """Send stored rows, save those of some ids, waiting for the reader after each slice; give their ids."""
        sent: set[bytes] = set()
        for at in range(0, len(seqs), ROWS_PER_SLICE):
            if not self._socket.is_open:
                break
            payloads = self._service.log.payloads(seqs[at : at + ROWS_PER_SLICE])
            rows = [row_and_id(payload) for payload in payloads if payload is not None]  # None: erased
            rows = [(row, row_id) for row, row_id in rows if row_id not in but]
            await self._sent(plain_frames(subscription, [row for row, _ in rows]))
            sent.update(row_id for _, row_id in rows)
        return sent

    async def _sent(self, texts: Iterable[str]) -> None:
        """Send a slice, then wait for the reader."""
        self._socket.send_many(texts)
        await trio.lowlevel.checkpoint()
        if self._socket.unread_bytes > STORED_BYTES:
            await self._socket.flushed()

    async def _pull(self, subscription: Subscription, position: int, visible: frozenset[bool]) -> None:
        """Send what lies behind a cursor, EOSE when the end that it had is reached, the rest, then live rows."""
        service, socket = self._service, self._socket
        selection = Selection(self._session.grant.relay_key, subscription.filters, visible)
        end = service.log.durable_size
        follower = service.log.follow(end if subscription.page == 0 else position)
        left, told = subscription.page or None, False
        while socket.is_open:
            if not told and follower.position >= end:
                socket.send(wire.eose(subscription.sub_id, service.places.cursor(follower.position)))
                left, told = None, True
            if follower.position >= service.log.durable_size:
                break  # without a pause before the next line, so that nothing comes in between
            records = await anext(follower)
            for at in range(0, len(records), PULL_RECORDS):
                found = taken(selection.of(records[at : at + PULL_RECORDS]), left)
                await self._sent(service.frames(subscription, found))
                if left is not None and len(found) >= left:
                    await self._end_page(subscription, found[-1].record)
                    return
                left = left and left - len(found)
        subscription.position = follower.position

    async def _end_page(self, subscription: Subscription, last: Record) -> None:
        """Say that the limit was reached; whoever wants more asks behind the cursor, nothing live comes."""
        cursor = self._service.places.cursors.behind(last.seq, last.commitment)
        self._socket.send(wire.eose(subscription.sub_id, cursor, more=True))
        self._session.end(subscription)
        await self._carry_out(Drop(subscription))


def row_id_of(record: Record) -> bytes:
    """Give the id of a row that was selected."""
    fact = stored_row(record)
    assert fact is not None, "selected, so it is there"
    return fact.row_id


def row_and_id(payload: bytes) -> tuple[bytes, bytes]:
    """Give a row as it was sent, and its id: in every version of the fact the last field and the third."""
    fields = cbor2.loads(payload[SALT_BYTES:])
    row, row_id = fields[-1], fields[2]
    assert isinstance(row, bytes)
    assert isinstance(row_id, bytes)
    return row, row_id
