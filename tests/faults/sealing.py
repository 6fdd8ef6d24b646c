"""A process whose views cannot be sealed while its log can be written: ``python -m tests.faults.sealing DIRECTORY``.

The view's write-ahead log outgrows `RLIMIT_FSIZE` long before the log does. Exits 0 where nothing was lost on the way.
"""

import resource
import sys
from pathlib import Path

import trio

from eventlog.disk.log import open_log
from eventlog.disk.views import open_views
from eventlog.errors import LogFailed
from gateway.serve.clock import SystemClock
from gateway.serve.ledger import Ledger
from tests.eventlog.words import WordsView, oracle, said

FILE_BYTES_MAX = 100_000


class SealedView(WordsView):
    """A view that is sealed after every few records: each time some pages go to its write-ahead log."""

    @property
    def due(self) -> bool:
        return self.position - self._sealed >= 3


def limit(size: int) -> None:
    """Let no file of this process grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def main(directory: Path) -> None:
    """Fill, be refused, look, make room, and look again."""
    with open_log(directory, SystemClock()) as log:
        views = open_views(log, directory / "views", [SealedView])
        view = views["words"]
        assert isinstance(view, SealedView)
        ledger = Ledger(log, views)
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            await nursery.start(ledger.run)
            limit(FILE_BYTES_MAX)
            count = await until_refused(ledger)
            assert log.failure is None, "it is the view that failed, not the log"
            assert ledger.failure is not None
            assert view.position == log.durable_size >= count, "what SQLite gave up is there again"
            assert view.found() == oracle([record for piece in log.read(0) for record in piece])
            limit(resource.RLIM_INFINITY)
            with trio.fail_after(60):
                await ledger.restored()
            await ledger.record([said(b"after")])
            assert view.found() == oracle([record for piece in log.read(0) for record in piece])
            nursery.cancel_scope.cancel()
        assert view.bookmark() is not None, "it is sealed again"
        assert view.position == view._sealed
        view.db.close()


async def until_refused(ledger: Ledger) -> int:
    """Say words until one is refused; how many were taken."""
    for count in range(10_000):
        try:
            await ledger.record([said(b"%d" % (count % 50))])
        except LogFailed:
            return count
    raise AssertionError("the limit was never reached")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
