"""``heliograph log report``: what the log holds and whether it is whole, as one page to read, print and keep."""

import base64
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from eventlog import checkpoint as checkpoints
from eventlog.chronicle import AnyEntry, Erased, Recovered, Retained
from eventlog.disk import audit
from eventlog.disk.durable import RealDisk
from eventlog.disk.recovery import read_checkpoint
from eventlog.disk.segments import SegmentFile, Segments
from eventlog.disk.store import LOG_DIRECTORY
from eventlog.errors import Absent, Corrupt
from eventlog.origin import Origin
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.log.opening import DATA, JOBS, opened, refuse_inside, time_text
from gateway.cli.log.page import Part, Row, Table, page, timeline
from gateway.cli.log.tally import DELIVERED, Tally
from gateway.errors import Unavailable

ROWS_MAX = 100  # of a table whose length grows with the log; what is beyond is counted, not shown


@click.command()
@DATA
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The HTML file to write.")
@JOBS
@click.option("--no-verify", is_flag=True, help="Leave the audit out, and say so.")
def report(data: Path, out: Path, jobs: int, no_verify: bool) -> None:
    """Write a report of the log as one printable page.

    Counts by kind, day, tenant and relay; what was not delivered; erasures, retention and recoveries; the
    checkpoint; a timeline. The log is audited first, and the page says what was found: exit code 1 where
    the log is damaged.

    \b
    Examples:
      heliograph log report --out report.html
    """
    refuse_inside(data, out, "--out")
    with opened(data) as (origin, segments):
        found = None if no_verify else _audited(data, jobs)
        tally, unread = _tallied(segments)
        parts = [
            _integrity(found, unread),
            Part("Timeline", figure=timeline(tally.hours, [(one.ts_ns, _told(entry)) for one, entry in tally.own])),
            *_counts(tally),
            _deliveries(tally),
            _own(tally),
            _checkpoint(data, origin),
            _segments(segments),
            _by_day(tally),
        ]
        made = f"Made at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by `heliograph log report`. All times are UTC."
        facts = _facts(origin, tally, segments)
        out.write_text(page(f"Log {origin.name}", facts, parts, made), "utf-8")
    click.echo(f"written: {out}")
    if unread or (found is not None and found.findings):
        raise SystemExit(CHECK_FAILED)


def _audited(data: Path, jobs: int) -> audit.Report | None:
    try:
        return audit.verify(str(data), tree=True, jobs=jobs)
    except Absent as changed:
        raise Unavailable(str(changed)) from changed


def _tallied(segments: Segments) -> tuple[Tally, str]:
    """Count what can be read; the second value says where that ended, if it was too early."""
    tally = Tally()
    try:
        for records in segments.pieces(segments[0].first_seq if len(segments) else 0, segments.end_seq):
            tally.take(records)
    except Corrupt as flaw:
        return tally, str(flaw)
    return tally, ""


def _facts(origin: Origin, tally: Tally, segments: Segments) -> dict[str, str]:
    kinds = tally.kinds.values()
    return {
        "Records": f"{sum(one.records for one in kinds):,}",
        "First": min((_moment(one.first_ns) for one in kinds), default="–"),
        "Last": max((_moment(one.last_ns) for one in kinds), default="–"),
        "Log made": _moment(origin.created_ns),
        "Size": f"{sum(file.file_bytes() for file in segments):,} bytes in {len(segments):,} segments",
    }


def _moment(ts_ns: int) -> str:
    return time_text(ts_ns)[:16].replace("T", " ")


def _integrity(found: audit.Report | None, unread: str) -> Part:
    if found is None:
        return Part("Integrity", ["The log was not audited for this report.", *([unread] if unread else [])], bad=True)
    if found.findings or unread:
        named = [f"{one.path}: byte {one.offset}: {one.what}" for one in found.findings[:ROWS_MAX]]
        return Part(
            "Integrity", ["The log is damaged; the counts below are of what can be read.", *named, unread], bad=True
        )
    words = [
        f"Whole: {found.records:,} records in {found.frames:,} commits were read; the Merkle tree was recomputed from "
        "them and is what every commit, every segment and the signed checkpoint say; every payload that is there is "
        "the one that was committed to.",
        f"Root over all of them: {found.root.hex()}",
    ]
    if found.erased:
        words.append(f"{found.erased:,} records have no payload any more; each is accounted for by a record below.")
    if found.first_seq:
        words.append(f"The records before {found.first_seq:,} were removed by retention.")
    if found.torn_bytes:
        words.append(
            f"Behind the last commit stand {found.torn_bytes} bytes: a commit in flight, or cut off by a crash."
        )
    return Part("Integrity", words)


def _counts(tally: Tally) -> list[Part]:
    kinds = sorted(tally.kinds.items(), key=lambda item: -item[1].records)
    rows = [
        (kind, one.records, one.without_payload, one.payload_bytes, _moment(one.first_ns), _moment(one.last_ns))
        for kind, one in kinds
    ]
    head = ("Kind", "Records", "Erased", "Payload bytes", "First", "Last")
    return [
        Part("By kind", table=Table(head, rows, "The log is empty.")),
        _by_name("By tenant", "Tenant", "Push: by the instance's domain.", tally.tenants),
        _by_name("By relay", "Relay", "Registrations, tokens, replicated rows and nostr events.", tally.relays),
    ]


def _by_day(tally: Tally) -> Part:
    days: dict[str, Counter[str]] = {}
    for hour, counts in sorted(tally.hours.items()):
        days.setdefault(time_text(hour * 3_600 * 10**9)[:10], Counter()).update(counts)
    families = sorted({family for counts in days.values() for family in counts})
    rows: list[Row] = [
        (day, counts.total(), *(counts[family] for family in families)) for day, counts in sorted(days.items())
    ]
    words = [f"The newest {ROWS_MAX} of {len(rows):,} days."] if len(rows) > ROWS_MAX else []
    return Part("By day", words, Table(("Day", "All", *families), rows[-ROWS_MAX:], "The log is empty."))


def _by_name(title: str, name: str, about: str, counts: Mapping[str, Counter[str]]) -> Part:
    kinds = sorted({kind for one in counts.values() for kind in one})
    order = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    rows: list[Row] = [(who or "(erased)", *(one[kind] for kind in kinds)) for who, one in order[:ROWS_MAX]]
    words = [about, *([f"The largest {ROWS_MAX} of {len(order):,}."] if len(order) > ROWS_MAX else [])]
    return Part(title, words, Table((name, *kinds), rows))


def _deliveries(tally: Tally) -> Part:
    rows = [(outcome, reason, count) for (outcome, reason), count in tally.outcomes.most_common()]
    refused = sum(count for (outcome, _), count in tally.outcomes.items() if outcome != DELIVERED)
    words = [
        f"{refused:,} of {tally.outcomes.total():,} settled deliveries did not reach their device.",
        "Requests that the gateway refused left no record, by design: a refusal leaves nothing behind but a count in "
        "the metrics of the time. They are therefore not in this report.",
    ]
    return Part(
        "Refusals and deliveries", words, Table(("Outcome", "Reason", "Count"), rows, "No delivery was settled.")
    )


def _own(tally: Tally) -> Part:
    rows = [(_moment(one.ts_ns), one.seq, one.kind, _told(entry)) for one, entry in tally.own[-ROWS_MAX:]]
    words = [f"The newest {ROWS_MAX} of {len(tally.own):,}."] if len(tally.own) > ROWS_MAX else []
    head = ("Time", "Record", "Kind", "What")
    return Part("Erasures, retention and recoveries", words, Table(head, rows))


def _told(entry: AnyEntry) -> str:
    match entry:
        case Erased(by, reason, what, count, _):
            return f"{count:,} payloads about a {what} erased; asked by {by}: {reason}"
        case Retained(first_seq, below):
            kinds = ", ".join(f"{one.kind} before {one.seq:,}" for one in below)
            return f"records before {first_seq:,} removed" + (f"; payloads gone of {kinds}" if kinds else "")
        case Recovered(file, offset, size, _):
            return f"a torn tail of {size:,} bytes cut from {file} at byte {offset:,}"


def _checkpoint(data: Path, origin: Origin) -> Part:
    try:
        found = read_checkpoint(RealDisk(), str(data / LOG_DIRECTORY), origin.name, origin.public_key)
    except Corrupt as flaw:
        return Part("Checkpoint", [str(flaw)], bad=True)
    if not found.size:
        return Part("Checkpoint", ["None was signed yet: nothing vouches for these records."])
    key = checkpoints.verifier_key(origin.name, origin.public_key)
    rows = [("Records", f"{found.size:,}"), ("Verifier key", key), ("Root", base64.b64encode(found.root).decode())]
    words = [
        "Keep a copy elsewhere: only against it can a log be found that was rolled back together with its checkpoint."
    ]
    return Part("Checkpoint", words, Table(("Signed", ""), rows))


def _segments(segments: Segments) -> Part:
    words = [f"The newest {ROWS_MAX} of {len(segments):,}."] if len(segments) > ROWS_MAX else []
    try:
        rows = [_segment(segments, file) for file in list(segments)[-ROWS_MAX:] if len(file.index)]
    except Corrupt as flaw:
        return Part("Segments", [str(flaw)], bad=True)
    head = ("Records", "Begun", "Commits", "Bytes", "Root at its end")
    return Part("Segments", words, Table(head, rows))


def _segment(segments: Segments, file: SegmentFile) -> Row:
    end = file.index.end_seq
    root = (segments.root_at(end) or b"").hex()[:16]
    seqs = f"{file.first_seq:,} – {end - 1:,}"
    return seqs, _moment(file.head().time_ns), len(file.index), file.file_bytes(), f"{root}…"
