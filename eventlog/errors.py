"""What can be wrong with a log, in two families that never mix.

`LogFailed` and its kin are the world's: the log takes nothing now, whoever waits is told, and a reopening goes through
recovery. `Corrupt` and its kin are about bytes: what was read is not what was written. Neither is ever retried here.
"""


class LogFailed(Exception):
    """The log takes no records: a write or an fsync failed, and nothing is acknowledged until it is reopened."""


class LogClosed(LogFailed):
    """The log was closed in good order; whatever was not yet durable may or may not be found at the next start."""


class LogFull(LogFailed):
    """More was submitted than the queue may hold: `room` was not awaited first."""


class Locked(Exception):
    """Another process has the log open; ``pid`` is what it wrote into the lock file, or 0."""

    def __init__(self, path: str, pid: int) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{path} is held by {holder}: one process may write a log")
        self.path, self.pid = path, pid


class Corrupt(Exception):
    """Bytes that this log never wrote: ``path`` and ``offset`` say where, the text says what and the way on."""

    def __init__(self, what: str, path: str = "", offset: int = 0) -> None:
        super().__init__(f"{path}: byte {offset}: {what}" if path else what)
        self.what, self.path, self.offset = what, path, offset

    def at(self, path: str, offset: int) -> "Corrupt":
        """Give the same finding a place."""
        return type(self)(self.what, path, offset)


class Torn(Corrupt):
    """Bytes that end too early: the mark of a write that was cut off, where nothing valid follows."""


class Absent(Exception):
    """There is no record with this seq: never written, or removed by retention."""


class Removed(Absent):
    """The record was there and retention removed it: the log begins with ``first_seq`` now."""

    def __init__(self, seq: int, first_seq: int) -> None:
        super().__init__(f"record {seq} was removed by retention: the log begins with record {first_seq}")
        self.seq, self.first_seq = seq, first_seq
