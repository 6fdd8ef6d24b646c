"""Proofs over the tree: that a record is in it, and that a later tree only grew from an earlier one (RFC 9162 §2.1).

A proof is a list of hashes. `Nodes` computes them from tiles; `check_inclusion` and `check_consistency` need nothing
but what they are handed, and say no by raising `Unproven`.
This module must not know where tiles are kept, nor who signed a root.
"""

from collections.abc import Callable, Sequence

from eventlog.errors import Corrupt
from eventlog.merkle import EMPTY_ROOT, HASH_BYTES, TILE_HEIGHT, node_hash
from eventlog.tile import WIDTH, Tile, tile_root

# RFC 9162 §2.1.3 and §2.1.4: one hash a level, and one more; 2^64 leaves have 64 levels.
PROOF_HASHES_MAX = 65


class Unproven(Exception):
    """The hashes do not lead to the root: the proof, or what it is to prove, is not what it says."""


class Nodes:
    """The nodes of a tree of ``size`` leaves, read from tiles; ``read`` gives a tile's hashes, at least its width."""

    def __init__(self, size: int, read: Callable[[Tile], bytes]) -> None:
        self.size = size
        self._read = read
        self._tiles: dict[Tile, bytes] = {}  # one proof touches two a level at most

    def node(self, level: int, index: int) -> bytes:
        """Give the root of the perfect subtree number ``index`` of ``2**level`` leaves; Corrupt for a short tile."""
        tile_level, inner = divmod(level, TILE_HEIGHT)
        tile_index, at = divmod(index << inner, WIDTH)
        width = min(WIDTH, (self.size >> (TILE_HEIGHT * tile_level)) - tile_index * WIDTH)
        hashes = self._hashes(Tile(tile_level, tile_index, width))
        return tile_root(hashes[at * HASH_BYTES : (at + (1 << inner)) * HASH_BYTES])

    def _hashes(self, tile: Tile) -> bytes:
        found = self._tiles.get(tile)
        if found is None:
            found = self._tiles[tile] = self._read(tile)[: tile.width * HASH_BYTES]
            if len(found) != tile.width * HASH_BYTES:
                raise Corrupt(f"{tile.path} holds {len(found)} bytes, not {tile.width * HASH_BYTES}")
        return found

    def root(self) -> bytes:
        """Give the tree's root."""
        return self._span(0, self.size) if self.size else EMPTY_ROOT

    def _span(self, start: int, end: int) -> bytes:
        """Hash the leaves from ``start`` up to ``end``, a span that the proofs of RFC 9162 may ask for."""
        perfect = []
        while start < end:
            level = (end - start).bit_length() - 1
            perfect.append(self.node(level, start >> level))
            start += 1 << level
        found = perfect.pop()
        while perfect:
            found = node_hash(perfect.pop(), found)
        return found

    def inclusion(self, index: int) -> list[bytes]:
        """Prove that leaf ``index`` is in the tree (RFC 9162 §2.1.3.1), the sibling of the leaf first."""
        assert 0 <= index < self.size, (index, self.size)
        hashes: list[bytes] = []
        start, end = 0, self.size
        while end - start > 1:
            middle = start + _half(end - start)
            if index < middle:
                hashes.append(self._span(middle, end))
                end = middle
            else:
                hashes.append(self._span(start, middle))
                start = middle
        return hashes[::-1]

    def consistency(self, old_size: int) -> list[bytes]:
        """Prove that the tree of the first ``old_size`` leaves became this one (RFC 9162 §2.1.4.1)."""
        assert 0 <= old_size <= self.size, (old_size, self.size)
        hashes: list[bytes] = []
        start, end = 0, self.size
        while 0 < old_size != end:
            middle = start + _half(end - start)
            if old_size <= middle:
                hashes.append(self._span(middle, end))
                end = middle
            else:
                hashes.append(self._span(start, middle))
                start = middle
        if start > 0:  # else the old tree is a whole subtree of this one, and whoever checks has its root
            hashes.append(self._span(start, end))
        return hashes[::-1]


def _half(count: int) -> int:
    """Give the largest power of two below ``count``: where a tree of so many leaves is split."""
    return 1 << (count - 1).bit_length() - 1


def check_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf stands at ``index`` in the tree of ``size`` with ``root`` (RFC 9162 §2.1.3.2); Unproven."""
    if not 0 <= index < size:
        raise Unproven(f"a tree of {size} records has no record {index}")
    node, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise Unproven("the proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or found != root:
        raise Unproven(f"record {index} is not in the tree of {size} records with this root")


def check_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the old tree's leaves are the first of the new one's (RFC 9162 §2.1.4.2); Unproven."""
    if not 0 <= old_size <= size:
        raise Unproven(f"the log went back from {old_size} records to {size}")
    if old_size in (0, size):
        _check_trivial(old_size, old_root, size, root, proof)
        return
    hashes = list(proof)
    if old_size & (old_size - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        raise Unproven("the proof holds no hashes")
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old, new = hashes[0], hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise Unproven("the proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or old != old_root or new != root:
        raise Unproven(f"the tree of {size} records did not grow from the one of {old_size} with that root")


def _check_trivial(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check the two cases that need no hashes: nothing before, and nothing since."""
    if proof:
        raise Unproven("a proof from nothing, or between equal sizes, holds no hashes")
    if old_root != (EMPTY_ROOT if old_size == 0 else root):
        raise Unproven(f"two trees of {old_size} records have different roots" if old_size else "nothing has a root")
    if size == 0 and root != EMPTY_ROOT:
        raise Unproven("the tree of no records has another root")
