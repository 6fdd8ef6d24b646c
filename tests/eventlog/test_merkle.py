"""The tree is RFC 6962's: known roots, and a slow oracle for every size."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventlog.errors import Corrupt
from eventlog.merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash

# The test vectors that certificate-transparency implementations share: leaves, and the roots of their prefixes.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def oracle(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it is written there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + oracle(leaves[:k]) + oracle(leaves[k:])).digest()


def test_the_shared_vectors_hold() -> None:
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        tree.extend([leaf_hash(bytes.fromhex(leaf))])
        assert tree.root().hex() == root


@given(st.lists(st.integers(0, 40), max_size=8))
def test_batches_of_any_size_lead_to_the_oracles_root(sizes: list[int]) -> None:
    tree, leaves = Tree(), []
    for size in sizes:
        new = [f"{len(leaves) + n}".encode() for n in range(size)]
        leaves += new
        tree.extend(map(leaf_hash, new))
        assert tree.root() == oracle(leaves)
        assert tree.size == len(leaves)
        # A tree that starts from the frontier goes on as if it had seen everything.
        tree = Tree(tree.size, tree.frontier())


def test_a_frontier_of_another_size_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="3 leaves has 2 subtrees, not 1"):
        Tree(3, [EMPTY_ROOT])
    with pytest.raises(Corrupt):
        Tree(1, [b"short"])


def test_a_node_is_not_a_leaf() -> None:
    assert node_hash(b"a" * 32, b"b" * 32) != leaf_hash(b"a" * 32 + b"b" * 32)
