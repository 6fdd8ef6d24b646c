"""``heliograph log show`` and ``log stats``: what the records say, and what they cost.

Invariant: prints what is there; an erased payload is null, a payload of an unknown kind its plain CBOR or hex.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import cbor2
import click
import msgspec

from eventlog.chronicle import ENTRIES
from eventlog.disk.segments import Segments
from eventlog.origin import Origin
from eventlog.record import Record
from gateway.cli.log.opening import DATA, Moment, opened, time_text
from gateway.cli.nearest import nearest
from gateway.facts import FACTS, fact_of


@click.command()
@DATA
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

    Where no record is as asked for, it says so on stderr; a kind that there is none of is a mistake.

    \b
    Examples:
      heliograph log show --limit 10
      heliograph log show --kind push. --since 2026-11-22T18:00:00Z
      heliograph log show --from 1000 --to 1999 | jq .kind
    """
    wanted = _filter(kinds, subject, since, until)
    with opened(data) as (_, segments):
        _refuse_unknown(kinds, segments)
        stop = segments.end_seq if last is None else min(last + 1, segments.end_seq)
        records = chain.from_iterable(segments.pieces(max(first, segments.first_seq), stop))
        if not _print(islice(filter(wanted, records), limit)):
            held = f"{segments.first_seq} to {segments.end_seq - 1}" if len(segments) else "none"
            click.echo(f"no record is as asked for; the log has {held}", err=True)


def _refuse_unknown(kinds: tuple[str, ...], segments: Segments) -> None:
    """Refuse a kind, or a family, that neither we nor the log know; only then all of the log is read for it."""
    known = {*FACTS, *ENTRIES}
    if all(_is_among(kind, known) for kind in kinds):
        return
    for records in segments.pieces(segments.first_seq, segments.end_seq):
        known.update(record.kind for record in records)
    for kind in kinds:
        if not _is_among(kind, known):
            names = known | {f"{one.partition('.')[0]}." for one in known}
            raise click.BadParameter(f"no kind is called {kind!r}; {nearest(kind, names)}", param_hint="--kind")


def _is_among(kind: str, known: Iterable[str]) -> bool:
    return any(one == kind or (kind.endswith(".") and one.startswith(kind)) for one in known)


def _print(records: Iterable[Record]) -> bool:
    """Print records; whether there was one."""
    some = False
    try:
        for record in records:
            some = True
            click.echo(json.dumps(describe(record), ensure_ascii=False))
    except BrokenPipeError:
        # Whoever read has seen enough (``| head``); the interpreter must not try to flush the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return some


def _filter(
    kinds: tuple[str, ...], subject: str | None, since: int | None, until: int | None
) -> Callable[[Record], bool]:
    try:
        who = None if subject is None else bytes.fromhex(subject)
    except ValueError as error:
        raise click.BadParameter("it is hex, two digits a byte", param_hint="--subject") from error
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
        "time": time_text(record.ts_ns),
        "kind": record.kind,
        "schema": record.schema,
        "subject": record.subject.hex(),
        "commitment": record.commitment.hex(),
        "payload": _payload(record),
    }


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


@click.command()
@DATA
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def stats(data: Path, as_json: bool) -> None:
    """Print how many records of which kinds there are, and what they cost.

    \b
    Examples:
      heliograph log stats
      heliograph log stats --data /var/lib/heliograph --json
    """
    with opened(data) as (origin, segments):
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
        "created": time_text(origin.created_ns),
        "records": count,
        "segments": len(files),
        "frames": sum(len(file.index) for file, _ in files),
        "bytes": total,
        "bytes_per_record": round(total / count, 1) if count else None,
        "payload_share": round(sizes.total() / total, 3) if total else None,
        "first": None if first_ns is None else time_text(first_ns),
        "last": None if last_ns is None else time_text(last_ns),
        "root": (segments.root_at(segments.end_seq) or b"").hex(),
        "kinds": {kind: {"records": n, "payload_bytes": sizes[kind]} for kind, n in counts.most_common()},
    }
