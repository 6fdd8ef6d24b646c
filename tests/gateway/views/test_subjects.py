"""A subject's records are found, with what they superseded, and nobody else's; what is left folds to what stands."""

import base64
import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from eventlog.record import Draft, Record
from gateway.facts import (
    SALT_BYTES,
    Accepted,
    Deregistered,
    Fact,
    Moderated,
    PushTarget,
    Registered,
    Removed,
    RowStored,
    TokenIssued,
    TokenRevoked,
    Vanished,
    draft,
    event_draft,
)
from gateway.nostr.event import stored_form
from gateway.nostr.key import npub
from gateway.push.target import target_text
from gateway.views.devices import DevicesView
from gateway.views.gone import Requests
from gateway.views.subjects import (
    Gone,
    NostrKey,
    PushToken,
    Subject,
    SubjectUnclear,
    User,
    described,
    finder,
    subject_of,
    what,
    words,
)
from tests.signing import ALICE, BOB, pubkey, signed

SALT = b"s" * SALT_BYTES
T = "takos.example"
LONG = "fcm:APA91b" + "x" * 140


def registered(user: str, target: str, issued_ms: int, tenant: str = T) -> Fact:
    return Registered(tenant, user, target, "token", "ios", "", issued_ms, 2**50, "n", 9, b"", "", b"{}")


def deregistered(user: str, target: str, issued_ms: int) -> Fact:
    return Deregistered(T, user, target, "token", issued_ms, 2**50, "n", b"", "", b"{}")


def accepted(user: str, *targets: str) -> Fact:
    to = tuple(PushTarget(target, "token", "", "default") for target in targets)
    return Accepted(T, user, "id", None, None, 2**50, to, "", b"{}")


def nostr(key: Any = ALICE, relay: str = "relay", **fields: Any) -> Draft:
    return event_draft(relay, 1, stored_form(signed(key, **fields)), ts_ns=1, subject=b"", salt=SALT)


def records(given: Sequence[Fact | Draft]) -> list[Record]:
    drafts = [one if isinstance(one, Draft) else draft(one, ts_ns=1, salt=SALT) for one in given]
    return [Record(seq, one.schema, one.ts_ns, one.kind, b"p", b"", one.payload) for seq, one in enumerate(drafts)]


def found(subject: Subject, given: Sequence[Fact | Draft]) -> set[int]:
    search = finder(subject)
    turn = 0
    while turn < search.passes:
        for record in records(given):
            search.take(record, turn)
        turn += 1
    return set(search.found)


def devices(given: Sequence[Fact | Draft], without: set[int]) -> list[tuple[Any, ...]]:
    view = DevicesView(sqlite3.connect(":memory:"))
    left = [one for one in records(given) if one.seq not in without]
    view.apply(left, len(given))
    return view.db.execute("SELECT user, target FROM device WHERE user IS NOT NULL ORDER BY 1, 2").fetchall()


@pytest.mark.parametrize(
    ("text", "subject", "kind"),
    [
        ("user:takos.example/alice", User("takos.example", "alice"), "user"),
        ("user:t/a/b", User("t", "a/b"), "user"),
        ("token:short", PushToken("short"), "token"),
        (LONG, PushToken(LONG), "token"),
        (f"nostr:{pubkey(ALICE)}", NostrKey(pubkey(ALICE)), "nostr"),
        (f"nostr:{npub(pubkey(ALICE))}", NostrKey(pubkey(ALICE)), "nostr"),
        (npub(pubkey(ALICE)), NostrKey(pubkey(ALICE)), "nostr"),
    ],
)
def test_a_subject_is_read_in_every_spelling_and_its_kind_names_nobody(text: str, subject: Subject, kind: str) -> None:
    assert subject_of(text) == subject
    assert what(subject) == kind
    assert not any(word in what(subject) for word in words(subject))
    assert any(word in described(subject) for word in words(subject))


@pytest.mark.parametrize(
    "text", ["", "alice", "user:alice", "user:/alice", "token:", "nostr:alice", pubkey(ALICE), "a" * 64, "dog:x"]
)
def test_what_may_mean_several_things_is_asked_back(text: str) -> None:
    with pytest.raises(SubjectUnclear):
        subject_of(text)


def test_only_a_key_has_deletion_requests() -> None:
    assert subject_of(npub(pubkey(ALICE)), only_deleted=True) == NostrKey(pubkey(ALICE), only_deleted=True)
    with pytest.raises(SubjectUnclear):
        subject_of("token:short", only_deleted=True)


def test_a_users_records_are_found_and_no_one_elses() -> None:
    given = [
        registered("alice", "a", 1),
        registered("alice", "a", 1, tenant="other.example"),
        registered("bob", "b", 1),
        accepted("alice", "a"),
        accepted("bob", "b"),
        deregistered("alice", "a", 2),
        Removed(T, "alice", "a", "token", "unregistered"),
    ]
    assert found(User(T, "alice"), given) == {0, 3, 5, 6}


def test_a_device_that_changed_hands_does_not_go_back_when_its_last_user_is_erased() -> None:
    given = [registered("bob", "shared", 1), registered("alice", "shared", 2)]
    gone = found(User(T, "alice"), given)
    assert gone == {0, 1}
    assert devices(given, gone) == []


def test_a_device_that_was_taken_back_stays_with_its_user() -> None:
    given = [registered("bob", "shared", 1), registered("alice", "shared", 2), registered("bob", "shared", 3)]
    gone = found(User(T, "alice"), given)
    assert gone == {0, 1}
    assert devices(given, gone) == [("bob", "shared")]


def test_an_envelope_that_came_too_late_to_count_supersedes_nothing() -> None:
    given = [registered("bob", "shared", 5), registered("alice", "shared", 2)]
    gone = found(User(T, "alice"), given)
    assert gone == {1}
    assert devices(given, gone) == [("bob", "shared")]


def test_every_record_that_names_a_token_is_found_whoever_it_was_for() -> None:
    given = [
        registered("alice", "a", 1),
        registered("bob", "a", 2),
        accepted("bob", "b", "a"),
        accepted("bob", "b"),
        Removed(T, "bob", "a", "token", "unregistered"),
    ]
    assert found(PushToken("a-token"), given) == set()
    assert found(PushToken("shared-token"), [registered("bob", "shared-token", 1), *given]) == {0}
    marked = [registered("alice", "tok-1", 1), accepted("bob", "b", "tok-1"), accepted("bob", "b")]
    assert found(PushToken("tok-1"), marked) == {0, 1}


def caused(user: str, actor: str, tenant: str = T) -> Fact:
    body = b'{"notification":{"actor_id":"%s"}}' % actor.encode()
    return Accepted(tenant, user, "id", None, None, 2**50, (), "", body)


def test_what_a_user_caused_to_others_goes_with_them_and_what_merely_mentions_them_stays() -> None:
    given = [
        caused("bob", "alice"),
        caused("bob", "carol"),
        caused("bob", "alice", "other.example"),
        caused("bob", "alicent"),
    ]
    assert found(User(T, "alice"), given) == {0}


def test_a_token_that_is_the_beginning_of_anothers_is_not_the_others() -> None:
    web = [f"https://push.example/{name}" for name in ("sub-1", "sub-12")]
    given = [
        *(registered("alice", target, 1) for target in (*web, "tok-1", "tok-12")),
        Accepted(T, "bob", "id", None, None, 2**50, (), "", b'{"message":"is tok-1. mine?"}'),
        Accepted(T, "bob", "id", None, None, 2**50, (), "", b'{"message":"is tok-12 mine?"}'),
        Accepted("matrix:app", "tok-1", "id", None, None, 2**50, (), "", b"{}"),
    ]
    assert found(PushToken("tok-1"), given) == {2, 4, 6}
    assert found(PushToken(web[0]), given) == {0}


def test_a_device_is_meant_in_whichever_spelling_its_token_was_given() -> None:
    raw = bytes(range(40, 72))
    b64 = base64.b64encode(raw).decode()
    device = Registered(T, "alice", raw.hex(), "apns", "ios", "", 1, 2**50, "n", 9, b"", "", b"{}")
    pushed = Accepted("matrix:app", b64, "id", None, None, 2**50, (PushTarget(raw.hex(), "apns", "", ""),), "", b"{}")
    for spelling in (raw.hex(), raw.hex().upper(), b64, b64.rstrip("=")):
        assert found(PushToken(spelling), [device, pushed]) == {0, 1}, spelling
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    p256dh = base64.urlsafe_b64encode(point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)).rstrip(b"=")
    keys = {"p256dh": p256dh.decode(), "auth": "A" * 22}
    whole = json.dumps({"keys": keys, "endpoint": "https://Push.example/1"}, indent=1)
    kept = target_text("webpush", whole, leaving=False)
    browser = Registered(T, "alice", kept, "webpush", "web", "", 1, 2**50, "n", 9, b"", "", b"{}")
    for spelling in (whole, kept, "https://push.example/1"):
        assert found(PushToken(spelling), [browser]) == {0}, spelling


def issued(key: str) -> Fact:
    return TokenIssued("w", "relay", key, "relay-access", 1, 1, 2, b"", b"", None, None, None)


def row(writer: str, body: bytes) -> Fact:
    return RowStored("relay", b"r" * 32, b"i" * 32, 1, 1, b"h", False, writer, body)


def test_a_keys_events_rows_tokens_and_what_was_wrapped_for_it_are_found() -> None:
    alice, bob = pubkey(ALICE), pubkey(BOB)
    given = [
        nostr(ALICE),
        nostr(ALICE, relay="elsewhere"),
        nostr(BOB, tags=[["p", alice]]),
        nostr(BOB, kind=1059, tags=[["p", alice]]),
        nostr(BOB, kind=1059, tags=[["p", bob]]),
        issued(alice),
        issued(bob),
        TokenRevoked("w", "relay", alice, 1, 1, "", None, None),
        row(alice, b"{}"),
        row("", b'{"pubkey":"%s"}' % alice.encode()),
        row(bob, b"not json"),
        row(bob, b"[]"),
    ]
    assert found(NostrKey(alice), given) == {0, 1, 3, 5, 7, 8, 9}


def test_what_moderators_said_of_a_key_and_what_it_said_as_one_are_found() -> None:
    alice, bob, admin = pubkey(ALICE), pubkey(BOB), b"a" * 32
    note = signed(ALICE, content="banned")
    given = [
        Moderated("relay", admin, "banpubkey", alice, "spam"),
        Moderated("relay", admin, "banpubkey", bob, "spam"),
        Moderated("relay", bytes.fromhex(alice), "disallowkind", "4", ""),
        Moderated("relay", admin, "changerelaydescription", f"run by {npub(alice)}", ""),
        Moderated("relay", admin, "banevent", note.id, ""),
        Moderated("relay", admin, "banevent", signed(BOB).id, ""),
        nostr(ALICE, content="banned"),
        Vanished("", bytes.fromhex(alice), 5),
    ]
    assert found(NostrKey(alice), given) == {0, 2, 3, 4, 6, 7}


def test_a_relays_lists_of_members_go_with_a_member() -> None:
    alice = pubkey(ALICE)
    given = [
        nostr(BOB, kind=13_534, tags=[["member", alice], ["member", pubkey(BOB)]]),
        nostr(BOB, kind=13_534, tags=[["member", pubkey(BOB)]]),
        nostr(BOB, kind=8_000, tags=[["p", alice]]),
        nostr(BOB, kind=3, tags=[["p", alice]]),
    ]
    assert found(NostrKey(alice), given) == {0, 2}


def test_what_authors_asked_to_be_gone_names_nobody() -> None:
    assert (what(Gone(Requests())), words(Gone(Requests()))) == ("gone", ())
    assert "authors" in described(Gone(Requests()))


def test_only_what_was_deleted_is_found_with_the_versions_before_it() -> None:
    alice = pubkey(ALICE)
    note, kept = signed(ALICE, content="oops"), signed(ALICE, content="kept")
    new = signed(ALICE, kind=0, content="new", created_at=20)
    given = [
        nostr(ALICE, content="oops"),
        nostr(ALICE, content="kept"),
        nostr(ALICE, kind=0, content="old", created_at=10),
        nostr(ALICE, kind=0, content="new", created_at=20),
        nostr(ALICE, kind=30_000, tags=[["d", "x"]], created_at=5),
        nostr(ALICE, kind=30_000, tags=[["d", "y"]], created_at=5),
        nostr(BOB, content="oops"),
        nostr(
            ALICE,
            kind=5,
            tags=[["e", note.id], ["e", new.id], ["a", f"30000:{alice}:x"], ["a", "1:bob:x"]],
            created_at=30,
        ),
        nostr(ALICE, relay="elsewhere", content="oops"),
    ]
    assert kept.id != note.id
    assert found(NostrKey(alice, only_deleted=True), given) == {0, 2, 3, 4}
