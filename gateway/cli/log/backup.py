"""``heliograph log backup`` and ``log restore``: a verified copy beside the running server, and a log made from one.

Invariant: a backup reads the data directory and never writes to it, so it takes no lock.
"""

from pathlib import Path

import click

from eventlog.disk import backup as copies
from eventlog.disk.durable import RealDisk
from eventlog.disk.store import LOG_DIRECTORY
from gateway.cli.log.opening import DATA, JOBS, refuse_inside
from gateway.errors import Unavailable

PLACE = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("directory", type=PLACE)
@DATA
@click.option("--link", is_flag=True, help="Give sealed segments a second name instead of a copy (same file system).")
@click.option("--with-keys", is_flag=True, help="Copy data/keys too: whoever has the backup can then sign as you.")
@JOBS
def backup(directory: Path, *, data: Path, link: bool, with_keys: bool, jobs: int) -> None:
    """Copy the log to a directory, beside a running server or without one.

    The copy ends at a signed checkpoint and is verified; it is of before or after each erasure, and waits for one that
    is under way. A second backup to the same directory copies only what is new, and drops what was erased or went by
    retention. --link is quick and costs no room, but a disk that fails takes
    both.

    \b
    Examples:
      heliograph log backup /backup/heliograph --data data
      heliograph log backup /backup/heliograph --with-keys
    """
    refuse_inside(data / LOG_DIRECTORY, directory, "DIRECTORY")
    try:
        done = copies.backup(
            RealDisk(), str(data), str(directory), link=link, with_keys=with_keys, jobs=jobs, progress=_say
        )
    except (copies.Refused, OSError) as refused:
        raise Unavailable(str(refused)) from refused
    click.echo(f"ok: {done.records} records, verified; {done.files} files of {done.file_bytes} bytes copied")
    click.echo(f"there already: {done.kept} files; removed: {done.removed}")
    click.echo(f"root: {done.root.hex()}")
    if not with_keys:
        click.echo("the keys are not in it (--with-keys): keep data/keys/log.pem elsewhere, a restore needs it")


def _say(what: str) -> None:
    click.echo(f"{what} …", err=True)


@click.command()
@click.argument("source", metavar="BACKUP", type=PLACE)
@DATA
@click.option("--keys", type=PLACE, help="The directory of the log's keys, where the backup has none.")
@JOBS
def restore(source: Path, *, data: Path, keys: Path | None, jobs: int) -> None:
    """Make a data directory from a backup.

    The backup is verified first; the directory must not hold a log. Records that came after the backup are not in it:
    whoever kept a later checkpoint can tell.

    \b
    Examples:
      heliograph log restore /backup/heliograph --data data
      heliograph log restore /backup/heliograph --data data --keys /safe/keys
    """
    try:
        done = copies.restore(RealDisk(), str(source), str(data), keys=None if keys is None else str(keys), jobs=jobs)
    except (copies.Refused, OSError) as refused:
        raise Unavailable(str(refused)) from refused
    click.echo(f"ok: {done.records} records in {data}")
    click.echo(f"root: {done.root.hex()}")
    click.echo(f"start it: heliograph serve --data {data}")
