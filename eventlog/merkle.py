"""The Merkle tree of RFC 6962 over the log's leaves, grown at its right edge.

Invariant: a tree of ``size`` leaves is held as its frontier alone: the roots of its perfect subtrees, one for each set
bit of ``size``, largest first. Whatever order of `extend` calls led here, the frontier is the same.
This module must not know what a leaf holds.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256

from eventlog.errors import Corrupt

HASH_BYTES = 32
TILE_HEIGHT = 8  # levels of the tree that a tile of C2SP tlog-tiles spans
EMPTY_ROOT = sha256(b"").digest()
_NODE = sha256(b"\x01")


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf (RFC 6962 §2.1: a zero byte in front tells it from a node)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash an inner node (RFC 6962 §2.1)."""
    node = _NODE.copy()  # a tenth faster than hashing the one byte each time
    node.update(left + right)
    return node.digest()


def _paired(row: Sequence[bytes]) -> list[bytes]:
    """Hash neighbours together, without the last one of an odd row: `node_hash` without a call for each."""
    nodes: list[bytes] = []
    add, copy = nodes.append, _NODE.copy
    pairs = iter(row)
    for left, right in zip(pairs, pairs, strict=False):
        node = copy()
        node.update(left + right)
        add(node.digest())
    return nodes


class Tree:
    """The right edge of a tree: `extend` it with leaf hashes, ask its `root` and its `frontier`."""

    __slots__ = ("_nodes", "size")

    def __init__(self, size: int = 0, frontier: Sequence[bytes] = ()) -> None:
        """Start from nothing, or from the frontier that another tree had at ``size``; Corrupt if they disagree."""
        if len(frontier) != size.bit_count() or any(len(node) != HASH_BYTES for node in frontier):
            raise Corrupt(f"a tree of {size} leaves has {size.bit_count()} subtrees, not {len(frontier)}")
        self.size = size
        # By level, lowest first: the left sibling that still waits for its right one.
        nodes = iter(reversed(frontier))
        self._nodes = [next(nodes) if size >> level & 1 else None for level in range(size.bit_length())]

    def extend(self, leaf_hashes: Iterable[bytes]) -> list[list[bytes]]:
        """Append leaves; give the nodes that are new at every eighth level, lowest first: what tiles are made of.

        A whole level is paired in one pass, so that a batch costs one tight loop a level.
        """
        row = list(leaf_hashes)
        self.size += len(row)
        level = 0
        new: list[list[bytes]] = []
        while row:
            if level % TILE_HEIGHT == 0:
                new.append(row)
            if level == len(self._nodes):
                self._nodes.append(None)
            waiting = self._nodes[level]
            if waiting is not None:
                row = [waiting, *row]
            self._nodes[level] = row[-1] if len(row) & 1 else None
            row = _paired(row)
            level += 1
        return new

    def frontier(self) -> tuple[bytes, ...]:
        """Give the roots of the perfect subtrees, largest first."""
        return tuple(node for node in reversed(self._nodes) if node is not None)

    def root(self) -> bytes:
        """Give the Merkle tree hash (RFC 6962 §2.1)."""
        root: bytes | None = None
        for node in self._nodes:
            if node is not None:
                root = node if root is None else node_hash(node, root)
        return EMPTY_ROOT if root is None else root
