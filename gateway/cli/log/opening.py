"""What every ``heliograph log`` command begins with: the data directory's log opened for reading, and words for time.

Invariant: nothing here takes the log's lock or writes a file under the data directory.
"""

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from eventlog.disk.durable import RealDisk
from eventlog.disk.segments import Segments
from eventlog.disk.store import LOG_DIRECTORY, read_origin
from eventlog.origin import Origin
from gateway.errors import Unavailable

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="The data directory of the server.",
)
JOBS = click.option(
    "--jobs", type=click.IntRange(1, 64), default=os.cpu_count() or 1, help="Processes. [default: one a core]"
)


class Moment(click.ParamType[Any]):
    """A time as ISO 8601, UTC unless it says otherwise; nanoseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse, or fail with a sentence."""
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2026-11-22T18:00:00Z", param, ctx)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000_000) * 1_000


class Instant(Moment):
    """A time, or a record's seq: (time in ns, None) or (None, seq)."""

    name = "time|seq"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse, or fail with a sentence."""
        return (None, int(value)) if re.fullmatch(r"\d{1,19}", value) else (super().convert(value, param, ctx), None)


def refuse_inside(directory: Path, path: Path, option: str) -> None:
    """Refuse to write a file below a directory that is the log's own: click.BadParameter."""
    if directory.resolve() in path.resolve().parents:
        raise click.BadParameter(
            f"it must be outside {directory}, where nothing is written but by the log", param_hint=option
        )


def no_log(data: Path) -> Unavailable:
    """Say that there is nothing to read."""
    return Unavailable(f"there is no log under {data}; name the data directory with --data")


@contextmanager
def opened(data: Path) -> Iterator[tuple[Origin, Segments]]:
    """Open the log under a data directory for reading. Raises Unavailable, or Corrupt."""
    disk = RealDisk()
    origin = read_origin(disk, str(data))
    if origin is None:
        raise no_log(data)
    with closing(Segments.found(disk, str(data / LOG_DIRECTORY))) as segments:
        yield origin, segments


def time_text(ts_ns: int) -> str:
    """Write nanoseconds since 1970 as ISO 8601, UTC, to the nanosecond."""
    try:
        whole = datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC)
    except (ValueError, OverflowError):
        return f"{ts_ns} ns"
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{ts_ns % 1_000_000_000:09d}Z"
