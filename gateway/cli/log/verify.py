"""``heliograph log verify``: every record there as it was written, or the file and byte where not."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.progress import Progress

from eventlog import checkpoint as checkpoints
from eventlog.disk import audit
from eventlog.disk.audit import Kept, Report
from eventlog.disk.durable import RealDisk
from eventlog.disk.passage import Finding
from eventlog.disk.store import LOG_DIRECTORY, VIEW_DIRECTORY, read_origin
from eventlog.disk.viewcheck import Checked, check_views
from eventlog.errors import Absent, Corrupt
from eventlog.limits import CHECKPOINT_BYTES_MAX
from eventlog.origin import Origin
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.log.opening import DATA, JOBS, no_log, opened, refuse_inside
from gateway.errors import Unavailable
from gateway.facts import refuse_unknown

_KEPT_BYTES_MAX = 4 * CHECKPOINT_BYTES_MAX  # a proof has a checkpoint in it, and at most 64 hashes before that


@click.command()
@DATA
@click.option("--level", type=click.Choice(["crc", "audit"]), default="audit", show_default=True, help="How deep.")
@JOBS
@click.option(
    "--against",
    "kept",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A checkpoint kept elsewhere, or a proof, that the log must still agree with; again for more.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file that remembers what was done: an audit that was cut off goes on there.",
)
@click.option("--views", is_flag=True, help="Also fold every view anew and compare it with its file.")
def verify(*, data: Path, level: str, jobs: int, kept: tuple[Path, ...], resume: Path | None, views: bool) -> None:
    """Check that every record is there as it was written.

    Where one is not: exit code 1, and the file and byte.

    crc checks every frame's checksums, order and shape. audit also recomputes the Merkle tree, and holds it against
    every frame, every segment and the signed checkpoint, and each payload against its commitment; a missing payload
    must be accounted for by a record of the log itself.

    A log that was rolled back, with its checkpoint, looks whole: only --against a checkpoint kept elsewhere shows it.

    Views are derived and not part of the log. --views names one whose rows are not what the log says; deleting its
    file with the server stopped is always safe. It takes as long as a first start, and room for all views twice
    where TMPDIR points.

    \b
    Examples:
      heliograph log verify
      heliograph log verify --data /var/lib/heliograph --level crc
      heliograph log verify --against /mnt/elsewhere/checkpoint
      heliograph log verify --resume /tmp/audit.state
      heliograph log verify --views
    """
    if resume is not None:
        refuse_inside(data, resume, "--resume")
    checkpoints_kept, refused = _kept(kept, _origin(data) if kept else None)
    report = _report(data, level, jobs, checkpoints_kept, resume)
    _tell(report, refused, level)
    if views:
        _tell_views(_checked_views(data))


def _checked_views(data: Path) -> Checked:
    from gateway.serve.app import VIEWS  # noqa: PLC0415 - loads the whole server; only this option needs its views

    with opened(data) as (origin, segments), TemporaryDirectory(prefix="heliograph-views-") as room:
        try:
            return check_views(
                segments, str(data / VIEW_DIRECTORY), VIEWS, origin=origin.name, judge=refuse_unknown, room=room
            )
        except (Absent, FileNotFoundError) as changed:
            raise Unavailable(f"{changed}: the log was rewritten while it was read; start again") from changed


def _tell_views(checked: Checked) -> None:
    for note in checked.notes:
        click.echo(f"note: {note.path}: {note.what}")
    for finding in checked.findings:
        click.echo(f"damaged: {finding.path}: {finding.what}")
    if checked.findings:
        raise SystemExit(CHECK_FAILED)
    click.echo(f"views: {len(checked.whole)} are what the log says")


def _origin(data: Path) -> Origin | None:
    try:
        return read_origin(RealDisk(), str(data))
    except Corrupt:
        return None  # the audit names it


def _kept(paths: tuple[Path, ...], origin: Origin | None) -> tuple[list[Kept], list[Finding]]:
    """Read the checkpoints kept elsewhere: those of this log, and what is wrong with the others."""
    found: list[Kept] = []
    refused: list[Finding] = []
    if origin is None:
        return found, refused
    for path in paths:
        try:
            checkpoint = _checkpoint_in(path, origin.public_key)
        except Corrupt as flaw:
            what = f"{flaw.what}: it is another log's, it was changed, or this log was made anew under its name"
            refused.append(Finding(str(path), 0, what))
            continue
        if checkpoint.origin == origin.name:
            found.append(Kept(str(path), checkpoint))
        else:
            refused.append(Finding(str(path), 0, f"the checkpoint is of another log, {checkpoint.origin}"))
    return found, refused


def _checkpoint_in(path: Path, public_key: bytes) -> checkpoints.Checkpoint:
    """Read a signed note, or the one that ends a proof."""
    with path.open("rb") as file:
        content = file.read(_KEPT_BYTES_MAX)
    try:
        return checkpoints.verify(content, public_key)
    except Corrupt:
        _, gap, rest = content.partition(b"\n\n")
        if gap and b"\n\n" in rest:
            return checkpoints.verify(rest, public_key)
        raise


def _report(data: Path, level: str, jobs: int, kept: list[Kept], resume: Path | None) -> Report:
    total = sum(path.stat().st_size for path in (data / LOG_DIRECTORY).glob("*.evl"))
    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("verifying", total=total)
        try:
            report = audit.verify(
                str(data),
                tree=level == "audit",
                jobs=jobs,
                progress=lambda done: progress.update(task, completed=done),
                kept=kept,
                resume=None if resume is None else str(resume),
            )
        except Absent as changed:
            raise Unavailable(str(changed)) from changed
    if report is None:
        raise no_log(data)
    return report


def _tell(report: Report, refused: list[Finding], level: str) -> None:
    findings = [*report.findings, *refused]
    for finding in findings:
        click.echo(f"damaged: {finding.path}: byte {finding.offset}: {finding.what}")
    for note in report.notes:
        click.echo(f"note: {note.path}: {note.what}")
    if report.torn_bytes and not findings:  # beside damage it is what could not be read for it
        click.echo(f"behind the last frame: {report.torn_bytes} bytes (a commit in flight, or cut off by a crash)")
    if findings:
        raise SystemExit(CHECK_FAILED)
    click.echo(f"ok: {report.records} records in {report.frames} frames and {report.segments} segments, level {level}")
    if report.first_seq:
        click.echo(f"first record: {report.first_seq}; those before were removed by retention")
    if report.erased:
        click.echo(f"without payload: {report.erased} records, each accounted for by an erasure or by retention")
    if report.resumed:
        click.echo(f"taken over from the run before: {report.resumed} segments")
    click.echo(f"root: {report.root.hex()}")
    if report.checkpoint_size:
        click.echo(f"checkpoint: {report.checkpoint_size} records")
    elif report.records:
        click.echo("checkpoint: none; nothing signed vouches for these records")
