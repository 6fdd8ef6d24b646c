"""How far requests were heeded never goes back, and a restart knows it."""

import sqlite3

from eventlog.record import Record
from gateway.facts import Heeded, draft
from gateway.views.heeding import HeedingView


def test_it_is_the_furthest_that_a_round_came() -> None:
    view = HeedingView(sqlite3.connect(":memory:"))
    assert view.before_seq == 0
    for seq, before_seq in enumerate((5, 3, 9)):
        made = draft(Heeded(before_seq, 1, 1), ts_ns=1)
        view.apply([Record(seq, made.schema, 1, made.kind, b"", b"", made.payload)], seq + 1)
        assert view.before_seq == (5, 5, 9)[seq]
    assert HeedingView(view.db).before_seq == 9
