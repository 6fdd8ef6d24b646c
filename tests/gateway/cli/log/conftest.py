"""A log of five records to audit, and a view of the log's own tests."""

from pathlib import Path

import pytest

from eventlog.chronicle import ENTRIES, Recovered
from eventlog.disk.log import open_log
from eventlog.record import Draft
from gateway.facts import RelayUnregistered, draft
from tests.eventlog.logs import running
from tests.eventlog.words import WordsView, said
from tests.fakes import FakeClock
from tests.gateway.cli.log.calls import AT, SECOND, WORDS


@pytest.fixture(autouse=True)
def _views(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view of the log's own tests, so that this does not hang on what the gateway's views make of their facts."""
    monkeypatch.setattr("gateway.serve.app.VIEWS", (WordsView,))
    for kind in ("word.said", "other.thing"):
        monkeypatch.setitem(ENTRIES, kind, Recovered)


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    async with running(open_log(tmp_path, FakeClock(), origin="log.example")) as log:
        await log.append_many([said(word, AT + n * SECOND) for n, word in enumerate(WORDS)])
        await log.append_many([draft(RelayUnregistered("default", "key1", None, None), ts_ns=AT + 3 * SECOND)])
        await log.append_many([Draft("other.thing", b"\xff\x00", AT + 4 * SECOND, b"\xaa" * 16)])
    return tmp_path
