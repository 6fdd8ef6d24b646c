"""The tree's tiles on disk, at the paths of C2SP tlog-tiles under the log's directory: servable as they are.

Tiles are derived from the log's leaves. They are written as commits complete them and never synced one by one: at full
speed that would be a thousand syncs a second. Instead all are synced together from time to time (`settle`), and the
file ``tiled`` says up to which size that was done. Every opening goes on from there: it makes anew, out of the leaves
behind it, whatever a power loss may have taken, and holds the root that the tiles give against the log's.
Invariant: before a checkpoint is signed, every tile of its tree is in its place; a partial tile goes only when its full
one is there and a later checkpoint was signed.
This module must not know signatures or HTTP.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from os.path import dirname, join

from eventlog.disk import durable
from eventlog.disk.durable import Disk
from eventlog.disk.segments import Segments
from eventlog.errors import Absent, Corrupt
from eventlog.limits import TILES_LAG_RECORDS
from eventlog.merkle import HASH_BYTES, TILE_HEIGHT
from eventlog.tile import TILE_BYTES_MAX, WIDTH, Edge, Tile, edge_at, regrown

MARK_FILE = "tiled"
_MARK_BYTES_MAX = 21  # 2^64 in decimal, and a newline


def read_tile(disk: Disk, directory: str, tile: Tile) -> bytes | None:
    """Read a tile's hashes, a partial one from its own file or the front of the full one; None where there is none."""
    size = tile.width * HASH_BYTES
    for path in (tile.path,) if tile.width == WIDTH else (tile.path, tile.full_path):
        found = durable.read_whole(disk, join(directory, path), TILE_BYTES_MAX)
        if found is not None and len(found) >= size:
            return found[:size]
    return None


def tile_from_leaves(segments: Segments, tile: Tile) -> bytes:
    """Make a tile's hashes out of the records below it: slow and right, where there are no tiles. Raises Absent."""
    span = 1 << (TILE_HEIGHT * tile.level)
    first = tile.index * WIDTH
    edge = Edge()
    found = b""
    for hashes in leaves(segments, first * span, tile.end):
        full = regrown(edge, hashes)
        found = next((data for one, data in full if one.level == tile.level), found)
    if edge.size != tile.end - first * span:
        raise Absent(f"the records of {tile.path} are gone, and it is not there")
    return found or next(data for one, data in edge.partials() if one.level == tile.level)


class TileWriter:
    """The tiles of one open log; `add` follows each commit, `publish`, `settle` and `tidy` go with each checkpoint."""

    def __init__(self, disk: Disk, directory: str, edge: Edge, settled: int) -> None:
        self._disk, self._directory, self._edge = disk, directory, edge
        self.settled = settled  # the size up to which all tiles are durable
        self._published: set[tuple[int, int]] = set()  # places that have partial tiles
        self._outgrown: list[Tile] = []  # full tiles whose partial ones are still there

    @property
    def size(self) -> int:
        """How many leaves the tiles hold."""
        return self._edge.size

    def root(self) -> bytes:
        """Give the root that the tiles give."""
        return self._edge.root()

    @property
    def due(self) -> bool:
        """Whether so many records came since the last `settle` that the next checkpoint should wait for one."""
        return self.size - self.settled >= TILES_LAG_RECORDS

    def add(self, rows: Sequence[Sequence[bytes]]) -> None:
        """Take in the nodes that a commit made (`Tree.extend`), and write the tiles that became full."""
        self._write_full(self._edge.add(rows))

    def _write_full(self, tiles: Sequence[tuple[Tile, bytes]]) -> None:
        for tile, hashes in tiles:
            self._put(tile, hashes)
            if (tile.level, tile.index) in self._published:
                self._published.discard((tile.level, tile.index))
                self._outgrown.append(tile)

    def publish(self) -> None:
        """Write the partial tiles of the tree as it is now: a checkpoint over it may be signed from here on."""
        for tile, hashes in self._edge.partials():
            self._put(tile, hashes)
            self._published.add((tile.level, tile.index))

    def publish_missing(self) -> None:
        """Do as `publish`, but leave alone what is there already: after a clean stop nothing is written."""
        for tile, hashes in self._edge.partials():
            if read_tile(self._disk, self._directory, tile) != hashes:
                self._put(tile, hashes)
            self._published.add((tile.level, tile.index))

    def _put(self, tile: Tile, hashes: bytes) -> None:
        path = join(self._directory, tile.path)
        try:
            durable.put_derived(self._disk, path, hashes)
        except FileNotFoundError:
            _make_directories(self._disk, dirname(path))
            durable.put_derived(self._disk, path, hashes)

    def settle(self) -> None:
        """Make all tiles durable, and remember that they are. Blocks: for a thread."""
        if self.settled != self.size:
            size = self.size
            self._disk.sync_all(self._directory)
            durable.replace(self._disk, join(self._directory, MARK_FILE), b"%d\n" % size)
            self.settled = size

    def tidy(self) -> None:
        """Remove partial tiles whose full ones are there; the checkpoint that named them has been replaced."""
        for tile in self._outgrown:
            partials = join(self._directory, f"{tile.full_path}.p")
            with suppress(FileNotFoundError):
                for name in self._disk.entries(partials):
                    self._disk.unlink(join(partials, name))
                self._disk.remove_directory(partials)
        self._outgrown.clear()

    def grow(self, segments: Segments, start: int, stop: int) -> None:
        """Make the tiles of records that are in the log already; their partial ones may be there from an earlier life.

        Such a tile is then outgrown too: a name that is not there costs one look.
        """
        for hashes in leaves(segments, start, stop):
            full = regrown(self._edge, hashes)
            self._published.update((tile.level, tile.index) for tile, _ in full)
            self._write_full(full)


def open_tiles(disk: Disk, directory: str, segments: Segments, *, size: int, root: bytes, signed: int) -> TileWriter:
    """Bring the tiles up to the log as it was recovered: ``size`` records with ``root``, ``signed`` by the checkpoint.

    Reads the leaves behind the last `settle`: after a clean stop at most 255. Where the tiles before it do not give the
    log's root all are made anew. Raises Corrupt where the records for that are gone, or do not give it either.
    """
    marked = _read_mark(disk, directory)
    start = min(marked, size) // WIDTH * WIDTH
    found = _resumed(disk, directory, start, marked)
    if found is not None and start >= _first_seq(segments):
        _catch_up(found, segments, start, size, signed)
    if found is None or found.size != size or found.root() != root:
        if _first_seq(segments) > 0:
            raise Corrupt("the tiles are lost and so are their records; put them back from a copy", directory, 0)
        found = TileWriter(disk, directory, Edge(), marked)
        _catch_up(found, segments, 0, size, signed)
        if found.root() != root:
            raise Corrupt("the leaves do not give the tree's root: run `heliograph log verify`", directory, 0)
    if marked // WIDTH != size // WIDTH:
        found.settle()
    return found


def _catch_up(tiles: TileWriter, segments: Segments, start: int, size: int, signed: int) -> None:
    """Make what is missing, the partial tiles of the published checkpoint among it: it is served from here on."""
    if start <= signed < size:
        tiles.grow(segments, start, signed)
        tiles.publish()
        start = signed
    tiles.grow(segments, start, size)
    tiles.publish_missing()


def _resumed(disk: Disk, directory: str, start: int, marked: int) -> TileWriter | None:
    def read(tile: Tile) -> bytes:
        hashes = read_tile(disk, directory, tile)
        if hashes is None:
            raise Corrupt(f"{tile.path} is missing or short")
        return hashes

    try:
        return TileWriter(disk, directory, edge_at(start, read), marked)
    except Corrupt:
        return None  # derived data: made anew by the caller


def _first_seq(segments: Segments) -> int:
    return segments[0].first_seq


def _read_mark(disk: Disk, directory: str) -> int:
    data = durable.read_whole(disk, join(directory, MARK_FILE), _MARK_BYTES_MAX) or b""
    return int(data) if data.endswith(b"\n") and data[:-1].isdigit() else 0


def leaves(segments: Segments, start: int, stop: int) -> Iterator[list[bytes]]:
    """Read the leaf hashes of records ``start`` up to ``stop``, some at a time; Corrupt at a bad frame."""
    for file in segments:
        if start >= stop or file.index.end_seq <= start:
            continue
        for _, found in file.pieces_from(start):
            for frame in found:
                first, end = frame.head.first_seq, frame.head.end_seq
                if end <= start or first >= stop:
                    continue
                yield frame.leaves()[start - first : stop - first]
                start = min(end, stop)
            if start >= stop:
                return


def _make_directories(disk: Disk, path: str) -> None:
    """Make a directory of tiles; its name is synced with all others, by `settle`."""
    try:
        disk.make_directory(path)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_directories(disk, dirname(path))
        disk.make_directory(path)
