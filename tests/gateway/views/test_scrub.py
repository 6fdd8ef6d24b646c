"""A view from which a subject was scrubbed names it no more, and says of others what it said before."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventlog.record import Record
from eventlog.view import TableView
from gateway.facts import SALT_BYTES, Accepted, Fact, PushTarget, Registered, TokenIssued, draft, event_draft
from gateway.nostr.event import Event, stored_form
from gateway.serve.app import VIEWS
from gateway.views.scrub import scrub
from gateway.views.subjects import NostrKey, PushToken, Subject, User, finder
from tests.signing import ALICE, BOB, pubkey, signed

SALT = b"s" * SALT_BYTES
T = "takos.example"


def registered(user: str, target: str) -> Fact:
    return Registered(T, user, target, "token", "ios", "", 1, 2, f"nonce-{len(user)}", 9, b"d", "sig", b"{}")


def accepted(user: str, target: str) -> Fact:
    to = (PushTarget(target, "token", "", "default"),)
    return Accepted(T, user, f"id-{user}", None, None, 2**50, to, "sig", b"{}")


def issued(key: str) -> Fact:
    return TokenIssued(
        "default", "relay", key, "relay-access", 1, 1, 2**50, key.encode(), b"h" + key.encode(), None, None, None
    )


FACTS: list[Fact | Event] = [
    registered("alice", "token-of-alice"),
    registered("bob", "token-of-bob"),
    accepted("alice", "token-of-alice"),
    accepted("bob", "token-of-bob"),
    issued(pubkey(ALICE)),
    issued(pubkey(BOB)),
    signed(ALICE, 1),
    signed(ALICE, 0),
    signed(BOB, 1),
]


def records() -> list[Record]:
    drafts = [
        draft(fact, ts_ns=seq + 1, subject=b"p", salt=SALT)
        if isinstance(fact, Fact)
        else event_draft("relay", 1, stored_form(fact), ts_ns=seq + 1, subject=fact.pubkey[:8].encode(), salt=SALT)
        for seq, fact in enumerate(FACTS)
    ]
    return [
        Record(seq, one.schema, one.ts_ns, one.kind, one.subject, b"", one.payload) for seq, one in enumerate(drafts)
    ]


def found(subject: Subject) -> set[int]:
    search = finder(subject)
    for turn in range(search.passes):
        for record in records():
            search.take(record, turn)
    return set(search.found)


@pytest.mark.parametrize(
    ("subject", "seqs", "words", "others"),
    [
        (User(T, "alice"), {0, 2}, (b"alice",), (b"token-of-bob",)),
        (PushToken("token-of-alice"), {0, 2}, (b"token-of-alice",), (b"token-of-bob",)),
        (
            NostrKey(pubkey(ALICE)),
            {4, 6, 7},
            (pubkey(ALICE).encode(), bytes.fromhex(pubkey(ALICE))),
            (pubkey(BOB).encode(), bytes.fromhex(pubkey(BOB))),
        ),
    ],
    ids=["user", "token", "nostr"],
)
def test_no_file_of_a_view_names_whom_it_forgot(
    tmp_path: Path, subject: Subject, seqs: set[int], words: tuple[bytes, ...], others: tuple[bytes, ...]
) -> None:
    assert found(subject) == seqs
    for view in VIEWS:
        with closing(sqlite3.connect(tmp_path / view.name)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            made: TableView = view(db)
            made.apply(records(), len(FACTS))
            made.commit("log.example", b"root")
            scrub(made, subject, seqs)
            assert made.position == len(FACTS)
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [word for word in words if word in data]
    assert all(other in data for other in others)
