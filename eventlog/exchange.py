"""One file that holds a whole log: what stands in it, in which order, and what is left out.

The file is a tar archive, so that any tool opens it and it can be streamed. Its first member, ``manifest.json``, names
the log, where it ends and the root there, and every file that follows with its size, in this order: the origin, the
segments, what stands beside them (snapshots, retention, tiles), keys if they were asked for, the checkpoint last.
Left out is what is derived and made anew in seconds (indexes, views) and what was never part of the log (a torn tail
kept aside, temporary files). Two exports of one state are the same bytes: members have no times and no owners.
Invariant: no name leads out of the data directory. This module must not know files.
"""

import re

import msgspec

from eventlog.errors import Corrupt

FORMAT = "heliograph-log/1"
MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024  # a file is a hundred bytes of it: 10 M records have 40,000 tiles
LOG, KEYS = "log/", "keys/"
_NAME = re.compile(
    r"log/(origin\.cbor|checkpoint|cosigned|retention|tiled|\d{20}\.evl|snap/[\w-][\w.-]*|tile/[\dxp./]+)|keys/[\w-][\w.-]*",
    re.ASCII,
)
_BESIDE = ("retention", "cosigned", "tiled")  # small files of the log's directory that belong to it, if they are there


class File(msgspec.Struct, frozen=True, array_like=True):
    """A file by its name under the data directory, and its size in bytes."""

    name: str
    size: int


class Manifest(msgspec.Struct, frozen=True):
    """Which log this is, which records it has and the tree's root over them all, and the files in their order."""

    format: str
    origin: str
    first_seq: int
    end_seq: int
    root: str
    files: tuple[File, ...]


def encode(manifest: Manifest) -> bytes:
    """Write a manifest down."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def decode(data: bytes) -> Manifest:
    """Read a manifest; Corrupt if it is none, or names a file that a log does not have."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt("this is not an exported log: it does not begin with a manifest") from error
    if manifest.format != FORMAT:
        raise Corrupt(f"an export of format {manifest.format!r} is not known: a newer release wrote it")
    names = [file.name for file in manifest.files]
    strange = next((name for name in names if not _NAME.fullmatch(name) or ".." in name or "//" in name), None)
    if strange is not None:
        raise Corrupt(f"an export holds {strange!r}, which is no file of a log")
    if len(set(names)) != len(names) or not {f"{LOG}origin.cbor"} <= set(names):
        raise Corrupt("an export names a file twice, or lacks the log's origin")
    return manifest


def beside(names: list[str]) -> list[str]:
    """Pick, out of the names in the log's directory, the small files that belong to the log."""
    return [name for name in _BESIDE if name in names]
