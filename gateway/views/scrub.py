"""A subject taken out of a view's rows, where the log can no longer say what the rest of them came from.

Where nothing was retained away, a view is simply folded anew. Where retention took what it was folded from, its rows
are all there is: those that hold the subject go, found by value and by the seqs of its records.
Invariant: after it no row of the view names the subject; other rows stay as they are. This module must not know files.
"""

import sqlite3
from collections.abc import Collection
from typing import assert_never

from eventlog.view import TableView
from gateway.nostr.key import npub
from gateway.views.authors import Author
from gateway.views.events import EventsView
from gateway.views.rows import RowsView
from gateway.views.subjects import Gone, NostrKey, PushToken, Subject, User, spellings

BY_SEQ = {
    "devices": ("DELETE FROM device WHERE seq = ?",),
    "outbox": ("DELETE FROM pending WHERE seq = ?", "DELETE FROM notification WHERE seq = ?"),
    "usage": ("DELETE FROM dead WHERE seq = ?", "DELETE FROM open WHERE seq = ?"),
    "events": ("DELETE FROM address WHERE seq = ?",),
}
OF_USER = {
    "devices": (
        "DELETE FROM device WHERE tenant = ? AND user = ?",
        "DELETE FROM pseudonym WHERE tenant = ? AND user = ?",
    ),
    "pushkeys": (
        "DELETE FROM gone WHERE tenant = ? AND pushkey = ?",
        "DELETE FROM held WHERE tenant = ? AND pushkey = ?",
    ),
}
OF_TOKEN = {
    "devices": ("DELETE FROM device WHERE ? IN (target, whole)",),
    "outbox": (
        "DELETE FROM pending WHERE target = ?",
        "UPDATE notification SET pending = (SELECT count(*) FROM pending p WHERE p.seq = notification.seq)",
    ),
    "pushkeys": ("DELETE FROM gone WHERE pushkey = ?", "DELETE FROM held WHERE pushkey = ?"),
}
OF_KEY = {
    "tokens": ("DELETE FROM issued WHERE subject = ?", "DELETE FROM subjects WHERE subject = ?"),
}
OF_KEY_WORDS = {"moderation": ("DELETE FROM rule WHERE instr(value || ' ' || reason, ?)",)}
_AUTHORED = ("author_kind", "address", "gone_id", "gone_address")
_AUTHOR = "(SELECT number FROM author WHERE pubkey = ?)"
OF_KEY_BYTES = {
    "events": (
        *(f"DELETE FROM {table} WHERE author = {_AUTHOR}" for table in _AUTHORED),  # noqa: S608 - constants
        "DELETE FROM vanished WHERE pubkey = ?",
        # The number stays taken: another author with it would be shown this one's page in a scan that is under way.
        "UPDATE author SET pubkey = NULL, deletes = 0 WHERE pubkey = ?",
    )
}
COUNTS = {
    "outbox": (
        # Whose turn it was may have gone: the first of each device that is left is at its head.
        "UPDATE pending SET head = NOT EXISTS (SELECT 1 FROM pending p"
        " WHERE p.device = pending.device AND (p.seq, p.idx) < (pending.seq, pending.idx))",
    ),
    "events": ("UPDATE relay SET events = (SELECT count(*) FROM event WHERE event.relay = relay.number)",),
}


def scrub(view: TableView, subject: Subject, seqs: Collection[int]) -> None:
    """Delete what a sealed view holds of a subject, in one transaction, and leave no trace of it in the file."""
    db = view.db
    assert not db.in_transaction, "sealed before"
    db.execute("PRAGMA secure_delete = ON")
    db.execute("BEGIN")
    for statement in BY_SEQ.get(view.name, ()):
        db.executemany(statement, [(seq,) for seq in seqs])
    if isinstance(view, RowsView):
        view.drop(seqs)
    if isinstance(view, EventsView):
        view.erase(seqs, _author(view, subject))
    _by_value(db, view.name, subject)
    for statement in COUNTS.get(view.name, ()):
        db.execute(statement)
    db.execute("COMMIT")
    db.execute("VACUUM")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    view.restart()  # what it keeps in memory is read again


def _author(view: EventsView, subject: Subject) -> Author | None:
    return view.author(subject.pubkey) if isinstance(subject, NostrKey) and not subject.only_deleted else None


def _by_value(db: sqlite3.Connection, name: str, subject: Subject) -> None:
    match subject:
        case User(tenant, user):
            _run(db, OF_USER.get(name, ()), (tenant, user))
        case PushToken(token):
            for spelling in sorted(spellings(token)):
                _run(db, OF_TOKEN.get(name, ()), (spelling,))
        case NostrKey(_, True) | Gone():
            pass  # the requests took the rows away when they were folded
        case NostrKey(pubkey):
            _run(db, OF_KEY.get(name, ()), (pubkey,))
            for word in (pubkey, npub(pubkey)):
                _run(db, OF_KEY_WORDS.get(name, ()), (word,))
            _run(db, OF_KEY_BYTES.get(name, ()), (bytes.fromhex(pubkey),))
        case _:
            assert_never(subject)


def _run(db: sqlite3.Connection, statements: Collection[str], values: tuple[object, ...]) -> None:
    for statement in statements:
        db.execute(statement, values[: statement.count("?")])
