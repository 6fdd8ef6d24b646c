"""``heliograph log export`` and ``log import``: a whole log in one file, and a log made from one, verified."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import Progress

from eventlog.disk import archive
from eventlog.disk.archive import Exists
from eventlog.disk.store import KEY_DIRECTORY, KEY_FILE, LOG_DIRECTORY
from eventlog.errors import Absent
from eventlog.exchange import KEYS
from gateway.cli.log.opening import DATA, JOBS, no_log, refuse_inside
from gateway.errors import Unavailable

STREAM = "-"


@contextmanager
def _bar(label: str) -> Iterator[archive.Progress]:
    with Progress(console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@click.command()
@click.argument("file", metavar="FILE")
@DATA
@click.option("--with-keys", is_flag=True, help="The keys too: whoever has the file can then sign as this log.")
def export(file: str, data: Path, with_keys: bool) -> None:
    """Write the whole log into one file.

    The file is a tar archive of the segments as they are, with a manifest in front; - writes to stdout.
    The server may run meanwhile. Nothing is verified here: an import verifies all of it. Keys stay here unless they are
    asked for.

    \b
    Examples:
      heliograph log export log.tar
      heliograph log export - --data /var/lib/heliograph | ssh elsewhere 'heliograph log import - --data data'
    """
    if file == STREAM:
        _export(data, sys.stdout.buffer, with_keys=with_keys)
        return
    target = Path(file)
    refuse_inside(data / LOG_DIRECTORY, target, "FILE")
    if target.is_dir():
        raise click.BadParameter(f"{target} is a directory; name the file to write", param_hint="FILE")
    part = target.with_name(f"{target.name}.part")
    try:
        with open(part, "xb", opener=_private if with_keys else None) as out:
            _export(data, out, with_keys=with_keys)
        part.replace(target)
    except FileExistsError as error:
        raise click.BadParameter(f"{part} is there: another export writes it, or was cut off; remove it") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _export(data: Path, out: IO[bytes], *, with_keys: bool) -> None:
    with _bar("exporting") as progress:
        try:
            manifest = archive.export(str(data), out, with_keys=with_keys, progress=progress)
        except Absent as changed:
            raise Unavailable(str(changed)) from changed
    if manifest is None:
        raise no_log(data)
    total = sum(file.size for file in manifest.files)
    count = manifest.end_seq - manifest.first_seq
    click.echo(f"exported: {count} records of {manifest.origin} in {total} bytes", err=True)
    click.echo(f"root: {manifest.root}", err=True)


@click.command("import")
@click.argument("file", metavar="FILE")
@DATA
@JOBS
def import_(file: str, data: Path, jobs: int) -> None:
    """Make a log from an exported file, and verify all of it before it counts.

    The data directory must not have a log. Segments, roots and checkpoint are then what they were, bit
    for bit; - reads from stdin.

    \b
    Examples:
      heliograph log import log.tar --data restored
    """
    try:
        with _bar("importing") as progress, _source(file) as source:
            manifest = archive.import_log(str(data), source, jobs=jobs, progress=progress)
    except Exists as there:
        raise Unavailable(str(there)) from there
    count = manifest.end_seq - manifest.first_seq
    click.echo(f"imported: {count} records of {manifest.origin}, all verified")
    click.echo(f"root: {manifest.root}")
    if not any(one.name.startswith(KEYS) for one in manifest.files):
        key = data / KEY_DIRECTORY / KEY_FILE
        click.echo(f"no keys came with it: it can be audited, and served once {key} is put there from a copy")


@contextmanager
def _source(file: str) -> Iterator[IO[bytes]]:
    if file == STREAM:
        yield sys.stdin.buffer
        return
    try:
        source = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise click.BadParameter(f"{file} cannot be read: {error.strerror}") from error
    with source:
        yield source
