"""``heliograph log prove``: a file that proves a record, or that the log only grew, to whoever has the log's key.

Invariant: what is printed was checked with the log's own public key first, so a damaged tile never makes a bad proof.
"""

import sys
from pathlib import Path

import click

from eventlog import checkpoint as checkpoints
from eventlog import prooftext
from eventlog.checkpoint import Checkpoint, VerifierKey
from eventlog.disk.durable import RealDisk, read_whole
from eventlog.disk.recovery import CHECKPOINT_FILE
from eventlog.disk.segments import Segments
from eventlog.disk.store import read_cosigned
from eventlog.disk.tiles import read_tile, tile_from_leaves
from eventlog.errors import Absent, Corrupt
from eventlog.limits import CHECKPOINT_BYTES_MAX
from eventlog.origin import Origin
from eventlog.proof import Nodes, Unproven
from eventlog.prooftext import AnyProof, Consistency, Inclusion
from eventlog.tile import Tile
from gateway.cli.exitcodes import CHECK_FAILED
from gateway.cli.log.opening import DATA, opened
from gateway.errors import Unavailable


@click.command()
@click.argument("seq", type=click.IntRange(0), required=False)
@DATA
@click.option(
    "--consistency",
    "old",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Prove that the log only grew since this checkpoint, kept earlier.",
)
@click.option("--payload", is_flag=True, help="Put the record's payload into the proof, so that it is proven too.")
def prove(seq: int | None, data: Path, old: Path | None, payload: bool) -> None:
    """Print a proof that a record is in the log, or that the log only grew.

    The proof is against the newest checkpoint, a cosigned one where there is any that has the record, and can be
    checked offline with `log check-proof`. The form is C2SP tlog-proof.

    \b
    Examples:
      heliograph log prove 4711 > 4711.tlog-proof
      heliograph log prove 4711 --payload > 4711.tlog-proof
      curl -s https://gateway.example/log/checkpoint > monday
      heliograph log prove --consistency monday > since-monday
    """
    if (seq is None) == (old is None):
        raise click.UsageError("name either a record's SEQ or a checkpoint with --consistency")
    with opened(data) as (origin, segments):
        key = VerifierKey(origin.name, origin.public_key)
        proof = _grown(origin, segments, old) if old else _included(origin, segments, seq or 0, payload=payload)
        try:
            prooftext.check(proof, key)
        except Unproven as flaw:
            click.echo(f"not proven: {flaw}", err=True)
            raise SystemExit(CHECK_FAILED) from None
    sys.stdout.buffer.write(prooftext.encode(proof))


def _included(origin: Origin, segments: Segments, seq: int, *, payload: bool) -> AnyProof:
    note, checkpoint = _checkpoint(origin, segments, seq)
    try:
        stored = segments.stored(seq)
        bare = prooftext.leaf(segments.record(seq))
        hashes = _nodes(segments, checkpoint.size).inclusion(seq)
    except Absent as absent:
        raise Unavailable(str(absent)) from absent
    return Inclusion(seq, stored if payload else bare, tuple(hashes), note)


def _grown(origin: Origin, segments: Segments, path: Path) -> AnyProof:
    old_note = path.read_bytes()
    try:
        old = checkpoints.verify(old_note, origin.public_key)
    except Corrupt as flaw:
        raise flaw.at(str(path), 0) from None
    note, checkpoint = _checkpoint(origin, segments, old.size - 1)
    try:
        hashes = _nodes(segments, checkpoint.size).consistency(old.size)
    except Absent as absent:
        raise Unavailable(str(absent)) from absent
    return Consistency(old_note, tuple(hashes), note)


def _checkpoint(origin: Origin, segments: Segments, seq: int) -> tuple[bytes, Checkpoint]:
    """Choose the checkpoint to prove against: cosigned if it has the record, else the newest; Unavailable."""
    disk, directory = RealDisk(), segments.directory
    newest = read_whole(disk, f"{directory}/{CHECKPOINT_FILE}", CHECKPOINT_BYTES_MAX)
    for note in (read_cosigned(disk, directory, origin), newest):
        if note is not None and (found := checkpoints.verify(note, origin.public_key)).size > seq:
            return note, found
    raise Unavailable(f"no checkpoint of this log has record {seq}: it is signed within a second, or never was there")


def _nodes(segments: Segments, size: int) -> Nodes:
    disk = RealDisk()

    def read(tile: Tile) -> bytes:
        found = read_tile(disk, segments.directory, tile)
        return tile_from_leaves(segments, tile) if found is None else found

    return Nodes(size, read)
