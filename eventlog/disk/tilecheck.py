"""Holding the tiles against the tree: the nodes that an audit's pass over a segment made, and what the files say.

Only tiles of the signed tree are asked for: they are in their places before a checkpoint is signed, so that an audit
beside a running server misses none for being early. Where retention has removed the first segments, their tiles stand
for them: each hash is held against the tile below it, and all of them against the first segment's frontier.
A log of the first release has no tiles; then nothing is asked.
"""

from collections.abc import Sequence
from os.path import join

from eventlog.disk.durable import Disk, read_whole
from eventlog.disk.tiles import read_tile
from eventlog.errors import Corrupt
from eventlog.merkle import EMPTY_ROOT, HASH_BYTES, TILE_HEIGHT, node_hash
from eventlog.tile import LEVELS, ROOM, TILE_BYTES_MAX, WIDTH, Tile, tile_root

Flaw = tuple[str, str]  # a path, and what is wrong
_FLAWS_MAX = 100  # whoever replaced a million tiles is found out by the first hundred
_WAY_ON = "the tiles are derived: stop the server, remove `tile` and `tiled`, and they are made anew from the records"


def has_tiles(disk: Disk, directory: str) -> bool:
    """Whether this log has tiles at all."""
    return ROOM in disk.entries(directory)


class TileCheck:
    """The tree's nodes that one pass made, at every eighth level, to be held against the tiles: 32 bytes a record."""

    def __init__(self, first_seq: int) -> None:
        self._first_seq = first_seq
        self._rows: list[bytearray] = []

    def add(self, rows: Sequence[Sequence[bytes]]) -> None:
        """Take the nodes that a frame's leaves made (`Tree.extend` gives them)."""
        for level, nodes in enumerate(rows):
            if level == len(self._rows):
                self._rows.append(bytearray())
            self._rows[level] += b"".join(nodes)

    def flaws(self, disk: Disk, directory: str, size: int) -> list[Flaw]:
        """Compare with the tiles of the tree of ``size`` leaves, and with partial ones of smaller trees."""
        found: list[Flaw] = []
        for level, row in enumerate(self._rows):
            first = self._first_seq >> (TILE_HEIGHT * level)
            end = min(first + len(row) // HASH_BYTES, size >> (TILE_HEIGHT * level))
            for index in range(first // WIDTH, -(-end // WIDTH)):
                start, stop = max(first, index * WIDTH), min(end, (index + 1) * WIDTH)
                wanted = row[HASH_BYTES * (start - first) : HASH_BYTES * (stop - first)]
                tile = Tile(level, index, min((size >> (TILE_HEIGHT * level)) - index * WIDTH, WIDTH))
                found += _compare(disk, directory, tile, start - index * WIDTH, wanted)
                if len(found) >= _FLAWS_MAX:
                    return found
        return found


def _compare(disk: Disk, directory: str, tile: Tile, skipped: int, wanted: bytes | bytearray) -> list[Flaw]:
    hashes = read_tile(disk, directory, tile)
    if tile.width == WIDTH and hashes == wanted:
        return []  # most tiles: full, and all of one segment
    path, at = join(directory, tile.path), skipped * HASH_BYTES
    if hashes is None:
        return [(path, f"a tile of the signed tree is missing or short; {_WAY_ON}")]
    copies = {path: hashes, **({} if tile.width == WIDTH else _older(disk, directory, tile))}
    return [
        (name, f"the tile is not what the records give; {_WAY_ON}")
        for name, copy in copies.items()
        if copy[at : at + len(wanted)] != wanted[: max(len(copy) - at, 0)]
    ]


def _older(disk: Disk, directory: str, tile: Tile) -> dict[str, bytes]:
    """Read the partial tiles of earlier trees at the same place: whoever has an old checkpoint may ask for them."""
    room = join(directory, f"{tile.full_path}.p")
    try:
        names = disk.entries(room)
    except FileNotFoundError:
        return {}
    found = {}
    for name in names:
        if name.isdigit() and int(name) < tile.width:
            found[join(room, name)] = read_whole(disk, join(room, name), TILE_BYTES_MAX) or b""
    return found


class Tiled:
    """The tiles of the signed tree of ``size`` leaves, asked for parts of the tree; Corrupt where they are gone."""

    def __init__(self, disk: Disk, directory: str, size: int) -> None:
        self._disk, self.directory, self._size = disk, directory, size

    def hashes(self, level: int, first: int, count: int) -> bytes:
        """Give ``count`` neighbouring hashes, all of one tile."""
        index, skipped = divmod(first, WIDTH)
        tile = Tile(level, index, min((self._size >> (TILE_HEIGHT * level)) - index * WIDTH, WIDTH))
        found = read_tile(self._disk, self.directory, tile)
        if found is None:
            path = join(self.directory, tile.path)
            raise Corrupt("a tile that stands for removed records is missing or short; put it back from a copy", path)
        return found[skipped * HASH_BYTES : (skipped + count) * HASH_BYTES]

    def frontier(self, size: int) -> tuple[bytes, ...]:
        """Compute the frontier of the tree of the first ``size`` leaves."""
        found, offset = [], 0
        for bit in reversed(range(size.bit_length())):
            if size >> bit & 1:
                level = bit // TILE_HEIGHT
                hashes = self.hashes(level, offset >> (TILE_HEIGHT * level), 1 << bit % TILE_HEIGHT)
                found.append(tile_root(hashes))
                offset += 1 << bit
        return tuple(found)

    def flaws_below(self, first_seq: int, frontier: tuple[bytes, ...]) -> list[Flaw]:
        """Hold the tiles of removed records against each other, and against the first segment's frontier."""
        try:
            if self.frontier(first_seq) != frontier:
                what = "the tiles of removed records do not lead to the first segment's frontier"
                return [(join(self.directory, ROOM), what)]
            for level in range(1, LEVELS):
                for index in range(first_seq >> (TILE_HEIGHT * level)):
                    if tile_root(self.hashes(level - 1, index * WIDTH, WIDTH)) != self.hashes(level, index, 1):
                        what = "the tile is not what the one above it says; put it back from a copy"
                        return [(join(self.directory, Tile(level - 1, index).path), what)]
        except Corrupt as flaw:
            return [(flaw.path, flaw.what)]
        return []


def root_of(frontier: Sequence[bytes]) -> bytes:
    """Give the root of the tree with this frontier (RFC 6962 §2.1)."""
    root: bytes | None = None
    for node in reversed(frontier):
        root = node if root is None else node_hash(node, root)
    return EMPTY_ROOT if root is None else root
