"""What an audit has done so far, in a file that its user names: cut off, it goes on there.

::

    <CRC-32, 8 hex digits> <JSON>      first line: which log, by origin and key, and how deep
    <CRC-32, 8 hex digits> <JSON>      then one for each sealed segment found whole: its file's identity, its passage

A line is believed only while the segment's file is the same: size, inode, and both times, of which the change time is
the kernel's own. Whoever can set the clock or write the disk below the file system can lie to it, so an audit that is
to convict somebody is made without. A line that is cut off, or fails its CRC, ends what is believed.
This is the user's file, not the log's: nothing is synced, and losing it only costs time.
"""

import re
from errno import EEXIST
from os.path import join
from typing import BinaryIO, Self
from zlib import crc32

import msgspec

from eventlog import segment
from eventlog.disk.passage import Passage, Task, identity
from eventlog.origin import Origin

FORMAT = "heliograph-audit/1"
_OWN = re.compile(rb'[0-9a-f]{8} \{"format":"heliograph-audit/')  # how any release's file begins, damaged or whole


class Heading(msgspec.Struct, frozen=True):
    """Which audit this is."""

    format: str
    origin: str
    public_key: bytes
    created_ns: int
    salt: int
    tree: bool


class Resumption:
    """The passages of an earlier run that still hold; `add` those of this one. Close it when done."""

    def __init__(self, path: str, origin: Origin, *, tree: bool) -> None:
        """Read what an earlier run left under ``path`` and go on there. ``ignored`` says why, where none of it fits.

        Raises FileExistsError where the file is something else: a user's file that was named by mistake is not
        overwritten.
        """
        heading = Heading(FORMAT, origin.name, origin.public_key, origin.created_ns, origin.salt, tree)
        self.ignored = ""
        self._known, whole_bytes = self._read(path, heading)
        self._file: BinaryIO = open(path, "r+b" if whole_bytes else "wb")  # noqa: SIM115 - closed by `close`
        self._file.truncate(whole_bytes)
        self._file.seek(whole_bytes)
        if not whole_bytes:
            self._write(msgspec.json.encode(heading))

    def _read(self, path: str, heading: Heading) -> tuple[dict[str, Passage], int]:
        known: dict[str, Passage] = {}
        whole_bytes = 0
        try:
            with open(path, "rb") as file:
                for line in file:
                    if not whole_bytes and not _OWN.match(line):
                        raise FileExistsError(EEXIST, "is not what an audit leaves, and is not overwritten", path)
                    text = _checked(line)
                    if text is None:
                        break
                    if not whole_bytes:
                        if msgspec.json.decode(text, type=Heading) != heading:
                            self.ignored = "it is of another log, another level or another release"
                            return {}, 0
                    else:
                        passage = msgspec.json.decode(text, type=Passage)
                        known[passage.path] = passage
                    whole_bytes += len(line)
        except FileNotFoundError:
            return {}, 0
        except msgspec.ValidationError:
            whole_bytes = 0
        if not whole_bytes:
            self.ignored = "it is not what an audit leaves"
        return known if whole_bytes else {}, whole_bytes

    def passage(self, task: Task) -> Passage | None:
        """Give what an earlier run found in a segment, if its file is still that and the watched roots are known."""
        path = join(task.directory, segment.name_of(task.first_seq))
        passage = self._known.get(path)
        if passage is None or task.last or passage.identity != identity(path):
            return None
        watched = {size for size in task.watched if passage.first_seq <= size <= passage.end_seq}
        return passage if watched <= passage.roots.keys() else None

    def add(self, passage: Passage) -> None:
        """Keep a sealed segment that was found whole, if its file has not changed since."""
        if (
            not (passage.findings or passage.tile_flaws)
            and passage.identity is not None
            and passage.identity == identity(passage.path)
        ):
            self._write(msgspec.json.encode(passage))

    def _write(self, text: bytes) -> None:
        self._file.write(b"%08x %s\n" % (crc32(text), text))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(line: bytes) -> bytes | None:
    """Give a line's text, or None where it was cut off or changed."""
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    return text if line.endswith(b"\n") and crc == b"%08x" % crc32(text) else None
