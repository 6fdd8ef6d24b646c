"""``heliograph log``: audits of the event log, read-only, on a stopped server's data or a running one's.

Invariant: nothing here takes the log's lock or writes a file under the data directory.
"""

import json
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cbor2
import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from eventlog.disk import audit
from eventlog.disk.durable import RealDisk
from eventlog.disk.segments import Segments
from eventlog.disk.store import LOG_DIRECTORY, read_origin
from eventlog.origin import Origin
from eventlog.record import Record
from eventlog.view import TableView
from gateway.errors import Unavailable
from gateway.facts import FACTS, fact_of, refuse_unknown

CHECK_FAILED = 1
_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="The data directory of the server.",
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


@click.group()
def command() -> None:
    """Audit the event log: verify, show, stats, replay.

    All of them only read; a server may be running on the same data.

    \b
    Examples:
      heliograph log verify --data data
      heliograph log show --kind push.settled --since 2026-11-22T18:00:00Z
      heliograph log replay --at 2026-11-22T18:00:00Z --view devices
    """


@command.command()
@_DATA
@click.option("--level", type=click.Choice(["crc", "audit"]), default="audit", show_default=True, help="How deep.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=os.cpu_count() or 1, help="Processes. [default: one a core]"
)
def verify(data: Path, level: str, jobs: int) -> None:
    """Check that every record is there as it was written; exit 1 and name file and byte where not.

    crc checks every frame's checksums, order and shape. audit also recomputes the Merkle tree, and holds it against
    every frame, every segment and the signed checkpoint, and each payload against its commitment.

    \b
    Examples:
      heliograph log verify
      heliograph log verify --data /var/lib/heliograph --level crc
    """
    total = sum(path.stat().st_size for path in (data / LOG_DIRECTORY).glob("*.evl"))
    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("verifying", total=total)
        report = audit.verify(
            str(data), tree=level == "audit", jobs=jobs, progress=lambda done: progress.update(task, completed=done)
        )
    if report is None:
        raise _no_log(data)
    for finding in report.findings:
        click.echo(f"damaged: {finding.path}: byte {finding.offset}: {finding.what}")
    if report.findings:
        raise SystemExit(CHECK_FAILED)
    click.echo(f"ok: {report.records} records in {report.frames} frames and {report.segments} segments, level {level}")
    click.echo(f"root: {report.root.hex()}")
    click.echo(f"checkpoint: {report.checkpoint_size} records")
    if report.torn_bytes:
        click.echo(f"behind the last frame: {report.torn_bytes} bytes (a commit in flight, or cut off by a crash)")


def _no_log(data: Path) -> Unavailable:
    return Unavailable(f"there is no log under {data}; name the data directory with --data")


@contextmanager
def _opened(data: Path) -> Iterator[tuple[Origin, Segments]]:
    disk = RealDisk()
    origin = read_origin(disk, str(data))
    if origin is None:
        raise _no_log(data)
    with closing(Segments.found(disk, str(data / LOG_DIRECTORY))) as segments:
        yield origin, segments


@command.command()
@_DATA
@click.option("--kind", "kinds", multiple=True, help="Only this kind; again for more; a trailing dot takes a family.")
@click.option("--subject", metavar="HEX", help="Only this subject.")
@click.option("--since", type=Moment(), help="Only records of this time or later.")
@click.option("--until", type=Moment(), help="Only records before this time.")
@click.option("--from", "first", type=click.IntRange(0), default=0, help="Begin with this seq.")
@click.option("--to", "last", type=click.IntRange(0), help="End with this seq.")
@click.option("--limit", type=click.IntRange(1), help="Show at most so many.")
def show(
    data: Path,
    *,
    kinds: tuple[str, ...],
    subject: str | None,
    since: int | None,
    until: int | None,
    first: int,
    last: int | None,
    limit: int | None,
) -> None:
    """Print records as JSON, one a line, with what their payload says.

    \b
    Examples:
      heliograph log show --limit 10
      heliograph log show --kind push. --since 2026-11-22T18:00:00Z
      heliograph log show --from 1000 --to 1999 | jq .kind
    """
    wanted = _filter(kinds, subject, since, until)
    with _opened(data) as (_, segments):
        stop = segments.end_seq if last is None else min(last + 1, segments.end_seq)
        records = chain.from_iterable(segments.pieces(first, stop))
        try:
            for record in islice(filter(wanted, records), limit):
                click.echo(json.dumps(describe(record), ensure_ascii=False))
        except BrokenPipeError:
            # Whoever read has seen enough (``| head``); the interpreter must not try to flush the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _filter(
    kinds: tuple[str, ...], subject: str | None, since: int | None, until: int | None
) -> Callable[[Record], bool]:
    try:
        who = None if subject is None else bytes.fromhex(subject)
    except ValueError as error:
        raise click.BadParameter("--subject is hex, two digits a byte") from error
    exact = {kind for kind in kinds if not kind.endswith(".")}
    families = tuple(kind for kind in kinds if kind.endswith("."))

    def wanted(record: Record) -> bool:
        return (
            (not kinds or record.kind in exact or record.kind.startswith(families))
            and (who is None or record.subject == who)
            and (since is None or record.ts_ns >= since)
            and (until is None or record.ts_ns < until)
        )

    return wanted


def describe(record: Record) -> dict[str, Any]:
    """Turn a record into plain values: bytes that are no text as hex, a known payload by its fields' names."""
    return {
        "seq": record.seq,
        "time": _time(record.ts_ns),
        "kind": record.kind,
        "schema": record.schema,
        "subject": record.subject.hex(),
        "commitment": record.commitment.hex(),
        "payload": _payload(record),
    }


def _time(ts_ns: int) -> str:
    try:
        whole = datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC)
    except (ValueError, OverflowError):
        return f"{ts_ns} ns"
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{ts_ns % 1_000_000_000:09d}Z"


def _payload(record: Record) -> Any:
    if record.payload is None:
        return None
    if record.kind in FACTS:
        fact = fact_of(record)
        assert fact is not None
        return plain({name: getattr(fact, name) for name in fact.__struct_fields__})
    try:
        return plain(cbor2.loads(record.payload))
    except (cbor2.CBORDecodeError, ValueError):
        return plain(record.payload)


def plain(value: Any) -> Any:
    """Turn values into what JSON holds: bytes as text where they are text, else as hex."""
    match value:
        case bytes():
            text = value.decode("utf-8", "replace")
            return text if text.isprintable() and "\ufffd" not in text else value.hex()
        case dict():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple() | set():
            return [plain(one) for one in value]
        case msgspec.Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case str() | int() | float() | bool() | None:
            return value
        case _:
            return str(value)


@command.command()
@_DATA
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def stats(data: Path, as_json: bool) -> None:
    """Print how many records of which kinds there are, and what they cost.

    \b
    Examples:
      heliograph log stats
      heliograph log stats --data /var/lib/heliograph --json
    """
    with _opened(data) as (origin, segments):
        found = _count(origin, segments)
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, value in found.items():
        if name != "kinds":
            click.echo(f"{name.replace('_', ' ') + ':':<24} {value}")
    for kind, one in found["kinds"].items():
        click.echo(f"  {kind:<32} {one['records']:>12} records {one['payload_bytes']:>14} payload bytes")


def _count(origin: Origin, segments: Segments) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    first_ns = last_ns = None
    for records in segments.pieces(0 if not len(segments) else segments[0].first_seq, segments.end_seq):
        first_ns, last_ns = first_ns or records[0].ts_ns, records[-1].ts_ns
        for record in records:
            counts[record.kind] += 1
            sizes[record.kind] += len(record.payload or b"")
    files = [(file, file.file_bytes()) for file in segments]
    total, count = sum(size for _, size in files), counts.total()
    return {
        "origin": origin.name,
        "created": _time(origin.created_ns),
        "records": count,
        "segments": len(files),
        "frames": sum(len(file.index) for file, _ in files),
        "bytes": total,
        "bytes_per_record": round(total / count, 1) if count else None,
        "payload_share": round(sizes.total() / total, 3) if total else None,
        "first": None if first_ns is None else _time(first_ns),
        "last": None if last_ns is None else _time(last_ns),
        "root": (segments.root_at(segments.end_seq) or b"").hex(),
        "kinds": {kind: {"records": n, "payload_bytes": sizes[kind]} for kind, n in counts.most_common()},
    }


@command.command()
@_DATA
@click.option("--at", "at", type=Instant(), help="The time (ISO 8601) or the last record's seq. [default: now]")
@click.option("--view", "names", multiple=True, help="Only this view; again for more. [default: all]")
def replay(data: Path, at: tuple[int | None, int | None] | None, names: tuple[str, ...]) -> None:
    """Print the state as it was: who was registered, which tokens were live, what was still to do; as JSON.

    The records up to that moment are folded anew, in memory; nothing is sent and nothing is written.

    \b
    Examples:
      heliograph log replay --at 2026-11-22T18:00:00Z --view devices
      heliograph log replay --at 4711 --view tokens --view relays
    """
    classes = _view_classes(names)
    until_ns, last_seq = at or (None, None)
    with _opened(data) as (origin, segments), ExitStack() as stack:
        views = [view(stack.enter_context(closing(sqlite3.connect(":memory:")))) for view in classes]
        position = _fold(segments, views, until_ns, last_seq)
        click.echo(json.dumps({"origin": origin.name, "records": position, "views": _rows(views)}, ensure_ascii=False))


def _view_classes(names: tuple[str, ...]) -> list[type[TableView]]:
    from gateway.serve.app import VIEWS  # noqa: PLC0415 - loads the whole server; only this command needs its views

    known = {view.name: view for view in VIEWS}
    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no view {name!r}; there are {', '.join(sorted(known))}")
    return [known[name] for name in names or known]


def _fold(segments: Segments, views: list[TableView], until_ns: int | None, last_seq: int | None) -> int:
    """Fold up to the first record after the moment: the log's order is the order in which things came true."""
    stop = segments.end_seq if last_seq is None else min(last_seq + 1, segments.end_seq)
    position = 0
    for piece in segments.pieces(0, stop):
        late = next((at for at, one in enumerate(piece) if until_ns is not None and one.ts_ns > until_ns), None)
        records = piece[:late]
        refuse_unknown(records)
        position += len(records)
        for view in views:
            view.apply(records, position)
        if late is not None:
            break
    return position


def _rows(views: list[TableView]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for view in views:
        tables: dict[str, list[dict[str, Any]]] = {}
        for table in view.tables:
            cursor = view.db.execute(f"SELECT * FROM {table}")  # noqa: S608 - the view's own table names
            names = [column[0] for column in cursor.description]
            tables[table] = [plain(dict(zip(names, row, strict=True))) for row in cursor]
        found[view.name] = {"digest": view.digest().hex(), "tables": tables}
    return found
