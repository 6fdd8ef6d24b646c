"""Who hears of a row."""

from gateway.config import Mirror
from gateway.replication.audience import Audience, Subscription
from gateway.replication.filter import filter_of
from gateway.replication.grant import Grant
from gateway.replication.registration import relay_of
from gateway.replication.row import row_of, stored
from gateway.replication.session import Session
from gateway.replication.token import Claims

A, B = "0a" * 32, "0b" * 32
NOW = 1_763_818_354_133


def session(relay_key: str = A, *, mirror: bool = True, expires: int = NOW + 1, serve_open: bool = False) -> Session:
    relay = relay_of({"relayKey": relay_key, "peers": [], "metadata": {"requiresAuth": False}})
    claims = Claims(expires, NOW, None, "", relay_key, "relay-access", 1)
    return Session(Grant(relay, mirror, claims, ""), Mirror(serve_open_rows=serve_open))


def subscription(of: Session, *relay_ids: str, position: int | None = 0) -> Subscription:
    filters = tuple(filter_of({"relayID": each}, limit_default=1, limit_max=1) for each in relay_ids)
    return Subscription(of, "s", filters, position)


def row(relay_id: str = B, relay_key: str = A, *, is_open: bool = False):
    fields = {"id": A, "relayID": relay_id, "kind": 1, "created_at": 1, "eventData": "aaaa"}
    return stored(row_of(fields, b"{}"), relay_key, "", is_open=is_open)


def hears(each: Subscription, fact, seq: int = 5) -> bool:
    audience = Audience()
    audience.add(each)
    return audience.of(fact, seq, NOW) == [each]


def test_a_subscription_hears_of_its_relayids_in_its_relay_alone():
    assert hears(subscription(session(), B), row())
    assert hears(subscription(session(), A, B), row())
    assert not hears(subscription(session(), A), row())
    assert not hears(subscription(session(B), B), row())


def test_a_subscription_hears_nothing_before_its_position():
    assert not hears(subscription(session(), B, position=6), row())
    assert hears(subscription(session(), B, position=5), row())
    assert not hears(subscription(session(), B, position=None), row())


def test_two_filters_that_match_are_one_subscription():
    each = subscription(session(), B, B)
    audience = Audience()
    audience.add(each)
    assert audience.of(row(), 5, NOW) == [each]
    assert audience


def test_what_was_removed_hears_no_more_and_leaves_nothing():
    audience, each = Audience(), subscription(session(), A, B)
    audience.add(each)
    audience.remove(each)
    audience.remove(each)
    assert audience.of(row(), 5, NOW) == []
    assert not audience


def test_a_mirror_hears_of_open_rows_only_where_configured():
    assert not hears(subscription(session(), B), row(is_open=True))
    assert hears(subscription(session(serve_open=True), B), row(is_open=True))


def test_a_normal_session_hears_of_tokened_rows_while_its_token_is_good():
    assert hears(subscription(session(mirror=False), B), row())
    assert hears(subscription(session(mirror=False), B), row(is_open=True))
    assert not hears(subscription(session(mirror=False, expires=NOW), B), row())
    assert hears(subscription(session(mirror=False, expires=NOW), B), row(is_open=True))
