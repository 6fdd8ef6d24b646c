"""Rows as JSON lines and the place that they reach: what `mirror` writes and reads.

A cursor file holds ``{"cursor": C, "bytes": N}``: behind cursor C the output is N bytes long. Invariant: it is replaced
after the rows are on disk, and what the output holds beyond N is cut away at the next start; so a row that was written
once is never written again, whatever was killed when. On stdout nothing can be cut: there a kill may repeat rows.
This module must not know sockets.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from eventlog.disk.durable import RealDisk, append, replace
from gateway.client.pouring import Lot
from gateway.client.stored import Stored, stored_of

BUFFER_BYTES = 1 << 20  # rows that wait to be written with one sync; live ones never wait
LOT_EVENTS = 500  # of a file that is published, for one round of answers
LOT_ROWS = 2_000


class Place(msgspec.Struct, frozen=True):
    """How far a file goes, and behind which cursor."""

    cursor: str | None = None
    bytes: int = 0


def read_place(path: Path | None) -> Place:
    """Read a cursor file; the beginning where there is none. click.UsageError where it is something else."""
    if path is None or not path.exists():
        return Place()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Place)
    except msgspec.DecodeError as why:
        raise click.UsageError(f"{path} is no cursor file: {why}") from None


def write_place(path: Path | None, place: Place) -> None:
    """Replace a cursor file, whole."""
    if path is not None:
        replace(RealDisk(), str(path.absolute()), msgspec.json.encode(place) + b"\n")


class RowFile:
    """Where rows go: a file, or stdout (``path`` None)."""

    def __init__(self, path: Path | None, cursor_path: Path | None) -> None:
        self._path, self._cursor_path, self._disk = path, cursor_path, RealDisk()
        self.place = read_place(cursor_path)
        self._buffer, self._cursor, self.rows = bytearray(), self.place.cursor, 0
        self._fd = -1 if path is None else self._open(path)

    def keep(self, rows: list[dict[str, Any]], cursor: str | None, *, flush: bool) -> None:
        """Take rows and the cursor behind them, None for none yet; ``flush``: they may not wait for others."""
        self.keep_lines([msgspec.json.encode(row) for row in rows], cursor, flush=flush)

    def keep_lines(self, lines: Sequence[bytes], cursor: str | None, *, flush: bool) -> None:
        """Take rows as they are spelled, as `keep` does."""
        for line in lines:
            self._buffer += line + b"\n" if b"\n" not in line else _one_line(line)
        self.rows += len(lines)
        self._cursor = cursor or self._cursor
        has_place = cursor is not None or self._cursor_path is None
        if has_place and (flush or len(self._buffer) >= BUFFER_BYTES):
            self.flush()

    def flush(self) -> None:
        """Write what is there, then where that is."""
        if self._path is None:
            sys.stdout.buffer.write(self._buffer)
            sys.stdout.buffer.flush()
        elif self._buffer:
            append(self._disk, self._fd, bytes(self._buffer), self.place.bytes)
        place = Place(self._cursor, self.place.bytes + len(self._buffer))
        self._buffer.clear()
        if place != self.place:
            self.place = place
            write_place(self._cursor_path, place)

    def close(self) -> None:
        """Let go of the file; what was not flushed is asked for again next time."""
        if self._fd >= 0:
            self._disk.close(self._fd)

    def _open(self, path: Path) -> int:
        """Open the output at its end: the cursor's, or with no cursor file the file's own."""
        fd = self._disk.open(str(path), create=True)
        size = self._disk.size(fd)
        if self._cursor_path is None:
            self.place = Place(None, size)
        elif size < self.place.bytes:
            self._disk.close(fd)
            raise click.UsageError(f"{path} is shorter than {self._cursor_path} says: it is another file's cursor")
        else:
            self._disk.truncate(fd, self.place.bytes)
        return fd


def _one_line(text: bytes) -> bytes:
    """Spell anew what somebody spelled over several lines."""
    return msgspec.json.encode(msgspec.json.decode(text)) + b"\n"


def lots_of(path: Path | None, start: int, *, rows: bool) -> Iterator[Lot]:
    """Give a file's events (stdin's where ``path`` is None), or its ``rows``, in lots as they are spelled.

    click.UsageError names the first line that is none.
    """
    with sys.stdin.buffer if path is None else path.open("rb") as file:
        if path is not None and file.seek(0, os.SEEK_END) < start:
            raise click.UsageError(f"{path} ends before byte {start}, where the cursor is: it is another file's cursor")
        if path is not None:
            file.seek(start, os.SEEK_SET)
        events: list[Stored] = []
        at, size = start, LOT_ROWS if rows else LOT_EVENTS
        for line in file:
            at += len(line)
            text = line.strip()
            if text:
                events.append(_stored(text, at - len(line), rows=rows))
            if len(events) >= size:
                yield Lot(events, at)
                events = []
        if events:
            yield Lot(events, at)


def _stored(text: bytes, at: int, *, rows: bool) -> Stored:
    try:
        one = stored_of(text)
    except ValueError as why:
        raise click.UsageError(f"the line at byte {at} is no {'row' if rows else 'event'}: {why}") from None
    if rows and b'"relayID"' not in text:
        raise click.UsageError(f"the line at byte {at} is no replication row: it needs id and relayID")
    return one
