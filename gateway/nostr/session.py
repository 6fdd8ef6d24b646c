"""One connection to the normal socket, without the socket: messages in, effects out.

Invariant: every message has at least one effect or a reason for none; a subscription is open here from the REQ that
opened it until a CLOSE, a refused REQ of the same id, or the connection's end; never more than the limit at once. The
shell carries effects out in order. This module must not know sockets, the log or time.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from gateway.config import Relay
from gateway.limits.mirror import NEG_OPEN_MAX
from gateway.limits.nostr import FILTER_VALUES_MAX, SESSION_KEYS_MAX
from gateway.negentropy import CompareEnd, CompareOn, neg_error
from gateway.nostr import message as wire
from gateway.nostr.account import Account
from gateway.nostr.authentication import auth_flaw
from gateway.nostr.event import Event
from gateway.nostr.filter import Filter
from gateway.nostr.membership import INVITE
from gateway.nostr.reader import Reader


@dataclass(frozen=True, slots=True)
class Store:
    """Verify these events together, keep what is good, answer an OK for each; ``keys`` the session had proved."""

    events: tuple[Event, ...]
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send what is stored, then EOSE, then what comes; in place of a subscription of the same id."""

    sub_id: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Count:
    """Say how many stored events match any of the filters."""

    sub_id: str
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Take what filters find together, and answer the first message about it (NIP-77)."""

    sub_id: str
    filters: tuple[Filter, ...]
    message: bytes


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """End a subscription, silently; it may be open on the mirror's side of the connection alone."""

    sub_id: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send this text; ``refused`` says what kind of message it turns down, for the metrics ("" for none)."""

    text: str
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Replicate:
    """Hand neighbouring replication frames, as they came, to the mirror; ``too_fast``: to be refused, in its words."""

    texts: tuple[str, ...]
    too_fast: bool = False


TOO_FAST = "rate-limited: slow down"
NOT_COMPARED = "closed: no comparison of this id is open"
Comparison = Compare | CompareOn | CompareEnd
Effect = Store | Subscribe | Count | Comparison | Unsubscribe | Send | Replicate


class Session:
    """What a connection has open and has proved, and what its next messages ask for.

    ``challenge`` is what the connection was sent; ``names_us`` tells whether a URL is this relay's; ``accounts`` are
    what it uses: its own, and its address's, which others share. `leave` gives subscriptions back.
    """

    def __init__(
        self, limits: Relay, challenge: str, names_us: Callable[[str], bool], accounts: Sequence[Account] = ()
    ) -> None:
        self._accounts = accounts
        self._metered = [account for account in accounts if account.is_metered]
        self._limits, self._challenge, self._names_us = limits, challenge, names_us
        asked_for = {INVITE} if limits.membership == "invite" else set()
        self._private, self._now_ms = frozenset({*limits.private_kinds, *asked_for}), 0
        self.keys: frozenset[str] = frozenset()  # proved by AUTH
        self._challenged = False
        self.open: dict[str, int] = {}  # subscription id -> values in its filters
        self._compared: set[str] = set()  # comparisons that are open; of those of rows the mirror keeps count
        self._rows_compared = False
        self._events: list[Event] = []
        self._rows: list[str] = []

    def challenge(self) -> list[Effect]:
        """Ask for a proof of a key (NIP-42), once a connection: before the first answer that would differ with one."""
        asked = [] if self._challenged else [Send(wire.auth(self._challenge))]
        self._challenged = True
        return list[Effect](asked)

    def reader(self, now_s: int) -> Reader:
        """Say who reads here at a time."""
        return Reader(self.keys, now_s, self._private)

    def take(self, messages: Sequence[str | bytes], now_ms: int) -> list[Effect]:
        """Turn the messages of one read into effects; neighbours of a kind that go in batches become one."""
        self._now_ms = now_ms
        effects: list[Effect] = []
        for text in messages:
            message = wire.decode(text)
            if self._metered and not all(account.take(len(text), now_ms) for account in self._metered):
                effects += self._over_rate(message)
            elif isinstance(message, wire.Publish):
                self._events.append(message.event)
            elif isinstance(message, wire.Replication) and not message.sub_id:
                self._rows.append(message.text)
            elif isinstance(message, wire.BadEvent):
                effects += self._effects(message)
            else:
                effects += [*self._gathered(), *self._effects(message)]
        return effects + self._gathered()

    def _gathered(self) -> list[Effect]:
        """Give what was gathered so far as effects; between events and rows there is no order to keep."""
        events, rows = tuple(self._events), tuple(self._rows)
        self._events.clear()
        self._rows.clear()
        stores: list[Effect] = [Store(events, self.keys)] if events else []
        return [*stores, Replicate(rows)] if rows else stores

    def _effects(self, message: wire.ClientMessage) -> list[Effect]:
        match message:
            case wire.Publish(event):
                return [Store((event,), self.keys)]
            case wire.Request(sub_id, filters):
                return self._request(sub_id, filters)
            case wire.Count(sub_id, filters):
                return self._count(sub_id, filters)
            case wire.Authenticate(event):
                return [self._authenticate(event)]
            case wire.Close(sub_id):
                self._close(sub_id)
                return [Unsubscribe(sub_id)]
            case wire.Replication(text, sub_id):
                return [*self._end(sub_id), Replicate((text,))]
            case wire.NegOpen() | wire.NegMessage() | wire.NegClose() | wire.BadComparison():
                return self._compare(message)
            case wire.BadEvent() | wire.BadRequest() | wire.Malformed():
                return self._refused(message)
            case _:
                assert_never(message)

    def _refused(self, message: wire.BadEvent | wire.BadRequest | wire.Malformed) -> list[Effect]:
        match message:
            case wire.BadEvent(event_id, reason):
                return [Send(wire.ok(event_id, False, reason), "event")]
            case wire.BadRequest(sub_id, reason, is_count):
                ended = [] if is_count else self._end(sub_id)
                return [*ended, Send(wire.closed(sub_id, reason), "request")]
            case wire.Malformed(text):
                return [Send(wire.notice(text), "message")]
            case _:
                assert_never(message)

    def _request(self, sub_id: str, filters: tuple[Filter, ...]) -> list[Effect]:
        values = sum(one.value_count for one in filters)
        refusal = self._refusal(sub_id, filters, values) or self._no_room(sub_id, values)
        refusal = refusal or self.reader(self._now_ms // 1000).refusal(filters)
        if refusal:
            return [*self._asking(filters), *self._end(sub_id), Send(wire.closed(sub_id, refusal), "request")]
        self._close(sub_id)
        self.open[sub_id] = values
        for account in self._accounts:
            account.subscriptions += 1
        return [*self._asking(filters), Subscribe(sub_id, filters)]

    def _count(self, sub_id: str, filters: tuple[Filter, ...]) -> list[Effect]:
        values = sum(one.value_count for one in filters)
        if any(one.search is not None for one in filters):
            return [Send(wire.closed(sub_id, "unsupported: what a search finds is not counted"), "request")]
        refusal = self._refusal(sub_id, filters, values) or self.reader(self._now_ms // 1000).refusal(filters)
        answer: Effect = Send(wire.closed(sub_id, refusal), "request") if refusal else Count(sub_id, filters)
        return [*self._asking(filters), answer]

    def _compare(self, message: wire.Comparing) -> list[Effect]:
        """Carry a comparison on, or hand it to the mirror where it is about rows; whatever is wrong with it ends it."""
        sub_id = message.sub_id
        match message:
            case wire.NegOpen():
                return self._begin_to_compare(message)
            case wire.BadComparison(_, reason):
                return self._refuse_to_compare(sub_id, reason)
            case wire.NegMessage(_, told) if sub_id in self._compared:
                return [CompareOn(sub_id, told)]
            case wire.NegMessage(_, _, text) if self._rows_compared:
                return [Replicate((text,))]
            case wire.NegMessage():
                return self._refuse_to_compare(sub_id, NOT_COMPARED)
            case wire.NegClose():
                return self._end_comparison(sub_id)
            case _:
                assert_never(message)

    def _begin_to_compare(self, message: wire.NegOpen) -> list[Effect]:
        sub_id, filters = message.sub_id, message.filters
        ended = self._end_comparison(sub_id)
        if filters is None:
            self._rows_compared = True
            return [*ended, Replicate((message.text,))]
        refusal = self._no_comparison(sub_id, filters)
        if refusal:
            return [*ended, *self._asking(filters), *self._refuse_to_compare(sub_id, refusal)]
        self._compared.add(sub_id)
        return [*ended, *self._asking(filters), Compare(sub_id, filters, message.message)]

    def _no_comparison(self, sub_id: str, filters: tuple[Filter, ...]) -> str | None:
        if len(self._compared) >= NEG_OPEN_MAX:
            return f"blocked: at most {NEG_OPEN_MAX} comparisons at once"
        if not self._limits.compare_events_max:
            return "unsupported: this relay does not compare"
        if any(one.search is not None for one in filters):
            return "unsupported: what a search finds is not compared"
        refusal = self._refusal(sub_id, filters, sum(one.value_count for one in filters))
        return refusal or self.reader(self._now_ms // 1000).refusal(filters)

    def _refuse_to_compare(self, sub_id: str, reason: str) -> list[Effect]:
        shown = sub_id[: self._limits.subid_chars_max]
        return [*self._end_comparison(sub_id), Send(neg_error(shown, reason), "comparison")]

    def _end_comparison(self, sub_id: str) -> list[Effect]:
        """Forget a comparison, here or at the mirror."""
        if sub_id in self._compared:
            self._compared.remove(sub_id)
            return [CompareEnd(sub_id)]
        return [Replicate((wire.neg_close(sub_id),))] if self._rows_compared else []

    def compared(self, sub_id: str) -> None:
        """Note that a comparison was ended by its own answer."""
        self._compared.discard(sub_id)

    def _asking(self, filters: tuple[Filter, ...]) -> list[Effect]:
        """Send the challenge ahead of an answer that may be another with a key proved."""
        asks_private = any(one.kinds and one.kinds & self._private for one in filters)
        return self.challenge() if asks_private else []

    def _authenticate(self, event: Event) -> Effect:
        """Take a proof of a key; several may be held at once, and stay until the connection ends (NIP-42)."""
        flaw = auth_flaw(event, self._challenge, self._names_us, self._now_ms // 1000)
        if flaw is None and len(self.keys | {event.pubkey}) > SESSION_KEYS_MAX:
            flaw = f"rate-limited: at most {SESSION_KEYS_MAX} keys on one connection"
        if flaw is not None:
            return Send(wire.ok(event.id, False, flaw), "auth")
        self.keys |= {event.pubkey}
        return Send(wire.ok(event.id, True))

    def _refusal(self, sub_id: str, filters: tuple[Filter, ...], values: int) -> str | None:
        limits = self._limits
        if not 1 <= len(sub_id) <= limits.subid_chars_max:
            return f"invalid: a subscription id has 1 to {limits.subid_chars_max} characters"
        if not filters:
            return "invalid: a REQ has at least one filter"
        if len(filters) > limits.filters_max:
            return f"invalid: a REQ has at most {limits.filters_max} filters"
        if not limits.search_events_max and any(one.search is not None for one in filters):
            return "unsupported: this relay does not search"
        if values > FILTER_VALUES_MAX:
            return f"rate-limited: at most {FILTER_VALUES_MAX} values in all open filters"
        return None

    def _no_room(self, sub_id: str, values: int) -> str | None:
        limits = self._limits
        if sub_id not in self.open and len(self.open) >= limits.subscriptions_max:
            return f"rate-limited: at most {limits.subscriptions_max} subscriptions at once"
        if sub_id not in self.open and any(account.is_full for account in self._accounts):
            return "rate-limited: this address has too many subscriptions at once"
        if sum(self.open.values()) - self.open.get(sub_id, 0) + values > FILTER_VALUES_MAX:
            return f"rate-limited: at most {FILTER_VALUES_MAX} values in all open filters"
        return None

    def _end(self, sub_id: str) -> list[Effect]:
        """End what is open under an id: a refused REQ ends it too, since CLOSED tells the client so."""
        if sub_id not in self.open:
            return []
        self._close(sub_id)
        return [Unsubscribe(sub_id)]

    def leave(self) -> None:
        """Give back what the accounts share, at the connection's end."""
        for sub_id in list(self.open):
            self._close(sub_id)

    def _close(self, sub_id: str) -> None:
        if self.open.pop(sub_id, None) is not None:
            for account in self._accounts:
                account.subscriptions -= 1

    def _over_rate(self, message: wire.ClientMessage) -> list[Effect]:
        """Refuse a message that came too fast, in the form that its kind has; ending something is always taken."""
        match message:
            case wire.Publish(event) | wire.Authenticate(event):
                return [Send(wire.ok(event.id, False, TOO_FAST), "event")]
            case wire.BadEvent(event_id, _):
                return [Send(wire.ok(event_id, False, TOO_FAST), "event")]
            case wire.Request(sub_id, _):
                return [*self._end(sub_id), Send(wire.closed(sub_id, TOO_FAST), "request")]
            case wire.Count(sub_id, _):
                return [Send(wire.closed(sub_id, TOO_FAST), "request")]
            case wire.NegOpen() | wire.NegMessage() | wire.BadComparison():
                return self._refuse_to_compare(message.sub_id, TOO_FAST)
            case wire.Replication(text, sub_id):
                return [*self._end(sub_id), Replicate((text,), too_fast=True)]
            case wire.Close() | wire.NegClose():
                return self._effects(message)
            case _:
                return [Send(wire.notice(TOO_FAST), "message")]
