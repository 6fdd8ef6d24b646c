"""``heliograph log verify``: every record there as it was written, or the file and byte where not."""

import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from eventlog.disk import audit
from eventlog.disk.store import LOG_DIRECTORY
from gateway.cli.log.opening import CHECK_FAILED, DATA, no_log


@click.command()
@DATA
@click.option("--level", type=click.Choice(["crc", "audit"]), default="audit", show_default=True, help="How deep.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=os.cpu_count() or 1, help="Processes. [default: one a core]"
)
def verify(data: Path, level: str, jobs: int) -> None:
    """Check that every record is there as it was written.

    Where one is not: exit code 1, and the file and byte.

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
        raise no_log(data)
    for finding in report.findings:
        click.echo(f"damaged: {finding.path}: byte {finding.offset}: {finding.what}")
    if report.findings:
        raise SystemExit(CHECK_FAILED)
    click.echo(f"ok: {report.records} records in {report.frames} frames and {report.segments} segments, level {level}")
    click.echo(f"root: {report.root.hex()}")
    click.echo(f"checkpoint: {report.checkpoint_size} records")
    if report.torn_bytes:
        click.echo(f"behind the last frame: {report.torn_bytes} bytes (a commit in flight, or cut off by a crash)")
