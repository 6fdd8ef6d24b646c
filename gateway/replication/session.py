"""One connection's replication, without the connection: frames in, effects out.

Invariant: every frame has an answer or an effect; a subscription is open here from its REQ until CLOSE, a refused REQ
of the same id, or the connection's end. What is stored or searched lies in the namespace of the grant's relay; an
untokened session writes and sees open rows alone. This module must not know sockets, the log, views or time's passing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, assert_never

import msgspec

from gateway.config import Mirror
from gateway.errors import SocketRefused
from gateway.limits.mirror import NEG_ROWS_MAX, REPLICATION_FILTERS_MAX, SUB_CHARS_MAX
from gateway.limits.nostr import FILTER_VALUES_MAX
from gateway.negentropy import CompareEnd, CompareOn, neg_error
from gateway.replication import frame as wire
from gateway.replication.audience import Subscription
from gateway.replication.binding import Binding
from gateway.replication.filter import Filter, FilterInvalid, filter_of, is_replication
from gateway.replication.grant import Grant
from gateway.replication.registration import INTERNAL
from gateway.replication.row import Row, RowInvalid, row_of
from gateway.replication.token import Claims

MISMATCH = "relay-mismatch: this relayID does not belong to the relay"
ANSWER_ID_CHARS_MAX = 256  # an id longer than this is not worth sending back
EXPIRED, RATE_LIMITED = "expired-token", "rate-limited"
TOO_FAST = f"{RATE_LIMITED}: slow down"
TOKENED, OPEN = False, True  # the values of a row's ``is_open``


class Store(msgspec.Struct, frozen=True, gc=False):
    """Keep a row if it is new, and answer OK when it is durable; ``notice`` is said beforehand ("" for none)."""

    row: Row
    writer: str
    is_open: bool
    notice: str
    receipts: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """Send what is stored, then EOSE, then what comes; in place of a subscription of the same id."""

    subscription: Subscription
    notice: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget a subscription, silently."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Compare:
    """Take the rows of a filter together and answer the first message about them."""

    sub_id: str
    filter: Filter
    message: bytes


@dataclass(frozen=True, slots=True)
class Renew:
    """Check this token and, where it is good and of the same subject, carry on with it."""

    token: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Send these texts: a frame of this kind was refused for this reason (labels of the metrics, closed sets)."""

    frame: str
    reason: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row among many that is not to be kept: its id as far as it is worth sending back, the reason, the label."""

    row_id: str | None
    reason: str
    metric: str


@dataclass(frozen=True, slots=True)
class StoreMany:
    """Keep the rows that are new, and answer for all together when they are durable."""

    entries: tuple[Store | Rejected, ...]


class Writing(NamedTuple):
    """As whom a session writes: a token's subject, or nobody, whose rows are open."""

    subject: str
    is_open: bool
    notice: str


UNTOKENED = Writing("", OPEN, wire.notice(wire.EVENT_ON_OPEN))
Comparison = Compare | CompareOn | CompareEnd
Effect = Store | StoreMany | Search | Drop | Comparison | Renew | Refuse


class Session:
    """What a connection may do and has open."""

    def __init__(self, grant: Grant, mirror: Mirror) -> None:
        self.grant, self._mirror = grant, mirror
        accepts_any = grant.relay_key == INTERNAL and mirror.internal_relay_accepts_any
        self._binding = Binding(grant.relay.public_names, accepts_any=accepts_any)
        self.open: dict[str, Subscription] = {}

    def take(self, message: str | bytes, now_ms: int) -> list[Effect]:
        """Turn one frame into effects, to be carried out in order."""
        frame = wire.decode(message)
        match frame:
            case wire.Publish():
                return [self._publish(frame, now_ms)]
            case wire.PublishMany(rows):
                writing = self._writing(now_ms)
                return [StoreMany(tuple([self._judge(row, writing) for row in rows]))]
            case wire.Request():
                return self._request(frame, now_ms)
            case wire.Close(sub_id):
                return self._end(sub_id)
            case wire.NegOpen() | wire.NegMessage() | wire.NegClose():
                return [self._compare(frame, now_ms)]
            case wire.Renewal(token):
                return [Renew(token)]
            case wire.Malformed(text):
                return [Refuse("other", "malformed", (wire.notice(text),))]
            case _:
                assert_never(frame)

    def refuse_for_rate(self, message: str | bytes, now_ms: int) -> list[Effect]:
        """Refuse a frame that came too fast, in the words of any other refusal; a REQ ends what it would replace."""
        del now_ms
        match wire.decode(message):
            case wire.Publish(fields):
                return [Refuse("EVENT", RATE_LIMITED, (wire.ok(_answer_id(fields), False, TOO_FAST),))]
            case wire.Request(sub_id):
                texts = (wire.closed(sub_id[:SUB_CHARS_MAX], TOO_FAST), wire.notice(TOO_FAST))
                return [*self._end(sub_id), Refuse("REQ", RATE_LIMITED, texts)]
            case _:
                return [Refuse("other", RATE_LIMITED, (wire.notice(TOO_FAST),))]

    def visible(self, now_ms: int) -> frozenset[bool]:
        """Say which rows the session may see now, as values of ``is_open``."""
        if self._missing_token(now_ms):
            return frozenset()
        if self.grant.mirror:
            return frozenset({TOKENED, OPEN} if self._mirror.serve_open_rows else {TOKENED})
        return frozenset({TOKENED, OPEN} if self.grant.tokened(now_ms) else {OPEN})

    def renew(self, claims: Claims) -> None:
        """Carry on with a token that was checked; SocketRefused where it is another subject's."""
        held = self.grant.claims
        if held is None or held.subject != claims.subject:
            raise SocketRefused(4403, "Invalid token", "invalid-token")
        self.grant = replace(self.grant, claims=claims)

    def end(self, subscription: Subscription) -> None:
        """End a subscription that its own answer has ended."""
        self.open.pop(subscription.sub_id, None)

    def refuse(self, subscription: Subscription, reason: str, metric: str) -> Refuse:
        """Refuse a REQ after all: what was wrong with it only the log could tell."""
        self.end(subscription)
        return Refuse("REQ", metric, (wire.closed(subscription.sub_id, reason), wire.notice(reason)))

    def leave(self) -> list[Subscription]:
        """End every subscription: the connection is gone."""
        left, self.open = list(self.open.values()), {}
        return left

    def _missing_token(self, now_ms: int) -> bool:
        """Tell a session whose token has expired, where one is needed: the mirror, and a relay that is not open."""
        needed = self.grant.mirror or self.grant.relay.requires_auth
        return needed and not self.grant.tokened(now_ms)

    def _publish(self, frame: wire.Publish, now_ms: int) -> Effect:
        judged = self._judge(frame, self._writing(now_ms))
        if isinstance(judged, Store):
            return judged
        notices = [wire.notice(wire.TOKEN_REQUIRED)] if judged.metric == EXPIRED else []
        return Refuse("EVENT", judged.metric, (wire.ok(judged.row_id, False, judged.reason), *notices))

    def _writing(self, now_ms: int) -> Writing | None:
        """Say as whom rows are written now; None where a token is needed and none is good."""
        if self._missing_token(now_ms):
            return None
        claims = self.grant.claims if self.grant.tokened(now_ms) else None
        return UNTOKENED if claims is None else Writing(claims.subject, TOKENED, "")

    def _judge(self, frame: wire.Publish | None, writing: Writing | None) -> Store | Rejected:
        """Check one row that is to be stored; None: it was no object."""
        if frame is None:
            return Rejected(None, "invalid-event: not an object", "invalid-event")
        fields = frame.fields
        if not fields.get("relayID"):
            return Rejected(_answer_id(fields), "replication-required", "replication-required")
        if writing is None:
            return Rejected(_answer_id(fields), "auth-required: the token has expired", EXPIRED)
        try:
            row = row_of(fields, frame.text)
        except RowInvalid as error:
            return Rejected(_answer_id(fields), error.reason, "invalid-event")
        if not self._binding.admits(row.relay_id):
            return Rejected(row.id, MISMATCH, "relay-mismatch")
        return Store(row, writing.subject, writing.is_open, writing.notice, frame.receipts)

    def _request(self, frame: wire.Request, now_ms: int) -> list[Effect]:
        try:
            filters = self._filters(frame, now_ms)
        except _Refused as refused:
            texts = (wire.closed(frame.sub_id[:SUB_CHARS_MAX], refused.closed), wire.notice(refused.notice))
            return [*self._end(frame.sub_id), Refuse("REQ", refused.metric, texts)]
        ended = self._end(frame.sub_id)
        pages = [each.page for each in filters if each.page is not None]
        subscription = Subscription(
            self,
            frame.sub_id,
            filters,
            after=filters[0].after,
            page=min(pages, default=None),
            batch=any(each.batch for each in filters),
        )
        self.open[frame.sub_id] = subscription
        untokened = not self.grant.tokened(now_ms)
        return [*ended, Search(subscription, wire.notice(wire.REQ_ON_OPEN) if untokened else "")]

    def _filters(self, frame: wire.Request, now_ms: int, limit: int | None = None) -> tuple[Filter, ...]:
        """Check a REQ: its id, its filters, their relayIDs; ``limit`` takes the place of the configured ones."""
        if self._missing_token(now_ms):
            raise _Refused("auth-required: the token has expired", wire.TOKEN_REQUIRED, "expired-token")
        if not frame.filters or not all(map(is_replication, frame.filters)):
            raise _Refused(
                f"replication-required: {wire.FILTERS_REQUIRED}", wire.FILTERS_REQUIRED, "replication-required"
            )
        if len(frame.sub_id) > SUB_CHARS_MAX:
            raise _invalid(f"a subscription id has at most {SUB_CHARS_MAX} characters")
        if len(frame.filters) > REPLICATION_FILTERS_MAX:
            raise _invalid(f"a REQ has at most {REPLICATION_FILTERS_MAX} filters")
        if frame.sub_id not in self.open and len(self.open) >= self._mirror.subscriptions_max:
            text = f"rate-limited: at most {self._mirror.subscriptions_max} subscriptions at once"
            raise _Refused(text, text, RATE_LIMITED)
        default, most = limit or self._mirror.limit_default, limit or self._mirror.limit_max
        try:
            filters = tuple(filter_of(fields, limit_default=default, limit_max=most) for fields in frame.filters)
        except FilterInvalid as error:
            raise _invalid(str(error)) from error
        if len({each.after for each in filters}) > 1:
            raise _invalid("after stands in every filter of a REQ or in none, and is the same in all")
        if self._values_elsewhere(frame.sub_id) + sum(each.value_count for each in filters) > FILTER_VALUES_MAX:
            text = f"rate-limited: at most {FILTER_VALUES_MAX} values in all open filters"
            raise _Refused(text, text, RATE_LIMITED)
        if not all(self._binding.admits(relay_id.hex()) for each in filters for relay_id in each.relay_ids):
            raise _Refused(MISMATCH, MISMATCH, "relay-mismatch")
        return filters

    def _compare(self, frame: wire.Comparing, now_ms: int) -> Effect:
        """Check a frame of a comparison; whatever is wrong with one is said in a NEG-ERR, and ends it."""
        sub_id = frame.sub_id[:SUB_CHARS_MAX]
        try:
            if isinstance(frame, wire.NegClose):
                return CompareEnd(sub_id)
            message = _unhexed(frame.message)
            if isinstance(frame, wire.NegMessage):
                return CompareOn(sub_id, message)
            asked = self._filters(wire.Request(frame.sub_id, [frame.filter]), now_ms, limit=NEG_ROWS_MAX)[0]
            if asked.after is not None:
                raise _invalid("a comparison has no cursor")
        except _Refused as refused:
            return Refuse("NEG", refused.metric, (neg_error(sub_id, refused.closed),))
        return Compare(sub_id, asked, message)

    def _values_elsewhere(self, sub_id: str) -> int:
        """Count the values in the filters of the other open subscriptions."""
        others = (each for each in self.open.values() if each.sub_id != sub_id)
        return sum(one.value_count for each in others for one in each.filters)

    def _end(self, sub_id: str) -> list[Effect]:
        subscription = self.open.pop(sub_id, None)
        return [] if subscription is None else [Drop(subscription)]


class _Refused(Exception):
    """A REQ that is refused: the CLOSED's text, the NOTICE's, and the metric's label."""

    def __init__(self, closed: str, notice: str, metric: str) -> None:
        super().__init__(closed)
        self.closed, self.notice, self.metric = closed, notice, metric


def _answer_id(fields: Mapping[str, object]) -> str | None:
    """Give the id that an answer names; None for one that is not worth sending back."""
    row_id = fields.get("id")
    return row_id if isinstance(row_id, str) and len(row_id) <= ANSWER_ID_CHARS_MAX else None


def _unhexed(message: str) -> bytes:
    try:
        return bytes.fromhex(message)
    except ValueError as error:
        raise _invalid("the message is not hexadecimal") from error


def _invalid(text: str) -> _Refused:
    return _Refused(f"invalid: {text}", f"invalid: {text}", "invalid-filter")
