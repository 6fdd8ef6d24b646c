"""Tiles: the tree's hashes in pieces of 256, as C2SP tlog-tiles names and cuts them.

Tile ``n`` of level ``l`` holds the roots of 256 neighbouring subtrees of ``256**l`` leaves each; level 0 holds leaf
hashes. A full tile never changes; the rightmost of a level is partial and has its width in its name, so that no name
ever stands for two contents.
Invariant: `Edge` gives every full tile exactly once, in whatever batches the leaves come.
This module must not know files: a path is text.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import msgspec

from eventlog.merkle import EMPTY_ROOT, HASH_BYTES, TILE_HEIGHT, Tree, node_hash

WIDTH = 1 << TILE_HEIGHT
TILE_BYTES_MAX = WIDTH * HASH_BYTES
LEVELS = 64 // TILE_HEIGHT
ROOM = "tile"  # the first part of every path
_PATH = re.compile(r"tile/(0|[1-9]\d?)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


class Tile(msgspec.Struct, frozen=True):
    """A tile's place and how many hashes it holds: 256 for a full one."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Name the tile: ``tile/<L>/<N>[.p/<W>]``, N in groups of three digits."""
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"{self.full_path}{partial}"

    @property
    def full_path(self) -> str:
        """Name the full tile at this place."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        return "/".join([ROOM, str(self.level), *(f"x{group}" for group in groups[:-1]), groups[-1]])

    @property
    def end(self) -> int:
        """Count the leaves of the smallest tree that this tile is part of."""
        return (self.index * WIDTH + self.width) << (TILE_HEIGHT * self.level)


def parse_path(path: str) -> Tile | None:
    """Give the tile that a path names, None where it is no tile's in its one right spelling."""
    found = _PATH.fullmatch(path)
    if found is None or len(found[2]) > 33:  # 2^64 has 20 digits: seven groups
        return None
    tile = Tile(int(found[1]), int(found[2].replace("x", "").replace("/", "")), int(found[3] or WIDTH))
    return tile if tile.path == path and tile.level < LEVELS else None


def partial_tiles(size: int) -> list[Tile]:
    """Name the partial tiles of a tree of ``size`` leaves, lowest level first."""
    found = []
    level = 0
    while size >> (TILE_HEIGHT * level):
        index, width = divmod(size >> (TILE_HEIGHT * level), WIDTH)
        if width:
            found.append(Tile(level, index, width))
        level += 1
    return found


def tile_root(hashes: bytes) -> bytes:
    """Give the root over the hashes of a tile, or of 2^n neighbours in it."""
    return _tree(hashes).root()


def _tree(hashes: bytes) -> Tree:
    tree = Tree()
    tree.extend(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))
    return tree


class Edge:
    """The tree's right edge in tiles: what is in none of the full ones, by level."""

    def __init__(self) -> None:
        self._rows: list[list[bytes]] = []
        self._full: list[int] = []  # how many full tiles each level has

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._full[0] * WIDTH + len(self._rows[0]) if self._rows else 0

    def add(self, rows: Sequence[Sequence[bytes]]) -> list[tuple[Tile, bytes]]:
        """Take the nodes that are new, by level (`Tree.extend` gives them); give the tiles that became full."""
        full: list[tuple[Tile, bytes]] = []
        for level, nodes in enumerate(rows):
            if level == len(self._rows):
                self._rows.append([])
                self._full.append(0)
            row = self._rows[level]
            row += nodes
            whole = len(row) // WIDTH
            for at in range(0, whole * WIDTH, WIDTH):
                full.append((Tile(level, self._full[level]), b"".join(row[at : at + WIDTH])))
                self._full[level] += 1
            del row[: whole * WIDTH]
        return full

    def partials(self) -> list[tuple[Tile, bytes]]:
        """Give the partial tiles of the tree as it is now."""
        return [
            (Tile(level, full, len(row)), b"".join(row))
            for level, (row, full) in enumerate(zip(self._rows, self._full, strict=True))
            if row
        ]

    def root(self) -> bytes:
        """Give the tree's root (RFC 6962 §2.1): what the tiles say, whatever the log's frames do."""
        root: bytes | None = None
        for row in self._rows:
            for node in reversed(_tree(b"".join(row)).frontier()):
                root = node if root is None else node_hash(node, root)
        return EMPTY_ROOT if root is None else root


def edge_at(size: int, read: Callable[[Tile], bytes]) -> Edge:
    """Make the edge of a tree of ``size`` leaves, a multiple of 256, out of its full tiles alone.

    At most 255 tiles a level are read and hashed. Partial ones are not asked: those of an older tree are removed.
    """
    assert size % WIDTH == 0, size
    edge = Edge()
    rows: list[list[bytes]] = []
    full: list[int] = []
    for level in range(LEVELS):
        if not size >> (TILE_HEIGHT * level):
            break
        index, width = divmod(size >> (TILE_HEIGHT * level), WIDTH)
        rows.append([tile_root(read(Tile(level - 1, index * WIDTH + at))) for at in range(width)])
        full.append(index)
    edge._rows, edge._full = rows, full  # noqa: SLF001 - its other constructor
    return edge


def covers(size: int, tile: Tile) -> bool:
    """Whether a tree of ``size`` leaves has at least this much of the tile."""
    return 0 < tile.end <= size


def regrown(edge: Edge, leaf_hashes: Iterable[bytes]) -> list[tuple[Tile, bytes]]:
    """Add leaves to an edge that no tree grows beside; give the tiles that became full."""
    full: list[tuple[Tile, bytes]] = []
    row = list(leaf_hashes)
    level = 0
    while row:
        new = edge.add([[]] * level + [row])
        full += new
        row = [tile_root(data) for _, data in new]
        level += 1
    return full
