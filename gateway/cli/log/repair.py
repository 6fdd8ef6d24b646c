"""``heliograph log repair``: a damaged log made whole from another copy of it, or left exactly as it is.

Invariant: it holds the log's lock, so no server writes meanwhile.
"""

import os
from contextlib import closing
from pathlib import Path

import click

from eventlog.disk import audit
from eventlog.disk.durable import RealDisk
from eventlog.disk.repair import Repaired, Unproven
from eventlog.disk.repair import repair as made_good
from eventlog.disk.store import LOCK_FILE
from eventlog.errors import Corrupt, Locked
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.log.opening import DATA, no_log
from gateway.errors import Unavailable


@click.command()
@DATA
@click.option(
    "--from",
    "source",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A backup, or the data directory of another copy of the same log.",
)
def repair(data: Path, source: Path) -> None:
    """Make a damaged log whole from a backup or another copy of it.

    What is bad is replaced, and proven by the tree's root before anything is changed; records that only this log has
    stay; damaged files are kept aside. Where the copy cannot prove it, it says what is missing and changes nothing.

    \b
    Examples:
      heliograph log repair --from /backup/heliograph --data data
    """
    for one in _made_good(data, source):
        kept = f"; the damaged file is kept as {one.kept_as}" if one.kept_as else ""
        click.echo(f"repaired: {one.path}: records {one.first_seq} to {one.end_seq - 1}")
        click.echo(f"  from the copy: {one.from_copy} records{kept}")
    report = audit.verify(str(data), tree=True, jobs=os.cpu_count() or 1)
    if report is None:
        raise no_log(data)
    for finding in report.findings:
        click.echo(f"still damaged: {finding.path}: byte {finding.offset}: {finding.what}")
    if report.findings:
        raise SystemExit(CHECK_FAILED)
    click.echo(f"ok: {report.records} records, level audit")
    click.echo(f"root: {report.root.hex()}")


def _made_good(data: Path, source: Path) -> list[Repaired]:
    disk = RealDisk()
    try:
        lock = disk.lock(str(data / LOCK_FILE))
        with closing(os.fdopen(lock, "rb")):
            return made_good(disk, str(data), str(source))
    except Unproven as unproven:
        raise Unavailable(f"nothing was changed: {unproven}") from unproven
    except (Locked, Corrupt, OSError) as error:
        raise Unavailable(f"the log cannot be repaired: {error}") from error
