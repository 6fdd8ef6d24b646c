"""Proofs: pymerkle, which shares no code with us, makes the same roots and the same proofs; forged ones are refused."""

import random
from functools import cache
from typing import Any

import pytest
from hypothesis import given, strategies

from eventlog.errors import Corrupt
from eventlog.merkle import EMPTY_ROOT, Tree, leaf_hash
from eventlog.proof import Nodes, Unproven, check_consistency, check_inclusion
from eventlog.tile import Edge, Tile
from tests.conformance import tlog

SMALL, LARGE = 1_000, 2**18
LEAVES = [b"leaf %d" % n for n in range(SMALL)]


def grown(hashes: list[bytes]) -> tuple[Tree, dict[Tile, bytes]]:
    tree, edge = Tree(), Edge()
    tiles = dict(edge.add(tree.extend(hashes)))
    tiles.update(edge.partials())
    return tree, tiles


@cache
def nodes(size: int) -> tuple[bytes, Nodes]:
    tree, tiles = grown([leaf_hash(leaf) for leaf in LEAVES[:size]])
    return tree.root(), Nodes(size, tiles.__getitem__)


def pymerkle_tree(leaves: list[bytes]) -> Any:
    pymerkle = pytest.importorskip("pymerkle")
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    tree.append_entries(leaves)
    return tree


def test_pymerkle_agrees_on_every_root_and_on_proofs_from_1_to_1_000_leaves() -> None:
    dice, theirs = random.Random(1), pymerkle_tree(LEAVES)
    for size in range(1, SMALL + 1):
        root, ours = nodes(size)
        assert root == ours.root() == theirs.get_root(size)
        for index in {0, size - 1, dice.randrange(size)}:
            assert [leaf_hash(LEAVES[index]), *ours.inclusion(index)] == theirs.prove_inclusion(index + 1, size).path
        old = dice.randrange(size) + 1
        agree_on_consistency(theirs, old, size, ours.consistency(old))


def agree_on_consistency(theirs: Any, old: int, size: int, proof: list[bytes]) -> None:
    """Pymerkle's form of this proof is another; so ours is judged by the RFC's rule, from roots that are pymerkle's."""
    check_consistency(old, theirs.get_root(old), size, theirs.get_root(size), proof)


def subproof(old: int, hashes: list[bytes], whole: bool = True) -> list[bytes]:
    """RFC 6962 §2.1.2, word by word."""
    if old == len(hashes):
        return [] if whole else [tlog.tree_hash(hashes)]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if old <= k:
        return [*subproof(old, hashes[:k], whole), tlog.tree_hash(hashes[k:])]
    return [*subproof(old - k, hashes[k:], False), tlog.tree_hash(hashes[:k])]


def test_consistency_proofs_are_those_of_the_rfc() -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES]
    for size in (*range(1, 40), 255, 256, 257, 1_000):
        for old in {*range(1, min(size, 40) + 1), size // 2 + 1, size - 1 or 1, size}:
            assert nodes(size)[1].consistency(old) == subproof(old, hashes[:size]), (old, size)


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, LARGE + 1])
def test_pymerkle_agrees_at_two_to_the_eighteen_and_its_neighbours(size: int) -> None:
    theirs = large()
    tree, tiles = grown([leaf_hash(b"%d" % n) for n in range(size)])
    ours = Nodes(size, tiles.__getitem__)
    assert tree.root() == ours.root() == theirs.get_root(size)
    for index in (0, 255, 256, 65_535, 65_536, size // 2, size - 1):
        assert [leaf_hash(b"%d" % index), *ours.inclusion(index)] == theirs.prove_inclusion(index + 1, size).path
    for old in (1, 255, 256, 65_537, LARGE // 2, size - 1, size):
        agree_on_consistency(theirs, old, size, ours.consistency(old))


@cache
def large() -> Any:
    return pymerkle_tree([b"%d" % n for n in range(LARGE + 1)])


@given(strategies.integers(1, SMALL), strategies.data())
def test_what_was_proven_checks_and_nothing_near_it_does(size: int, data: strategies.DataObject) -> None:
    root, ours = nodes(size)
    index = data.draw(strategies.integers(0, size - 1))
    proof, leaf = ours.inclusion(index), leaf_hash(LEAVES[index])
    check_inclusion(leaf, index, size, proof, root)
    for forged in forgeries(proof):
        with pytest.raises(Unproven):
            check_inclusion(leaf, index, size, forged, root)
    with pytest.raises(Unproven):
        check_inclusion(leaf_hash(b"another"), index, size, proof, root)
    if size > 1:
        with pytest.raises(Unproven):
            check_inclusion(leaf, (index + 1) % size, size, proof, root)


@given(strategies.integers(1, SMALL), strategies.data())
def test_growth_is_proven_and_a_rewritten_past_is_not(size: int, data: strategies.DataObject) -> None:
    root, ours = nodes(size)
    old = data.draw(strategies.integers(1, size))
    proof, old_root = ours.consistency(old), nodes(old)[0]
    check_consistency(old, old_root, size, root, proof)
    for forged in forgeries(proof):
        with pytest.raises(Unproven):
            check_consistency(old, old_root, size, root, forged)
    with pytest.raises(Unproven):
        check_consistency(old, leaf_hash(b"another past"), size, root, proof)


def forgeries(proof: list[bytes]) -> list[list[bytes]]:
    """One hash more, one less, one changed."""
    return [[*proof, bytes(32)], *([proof[:-1], [bytes(32), *proof[1:]]] if proof else [])]


def test_nothing_needs_no_proof_and_going_back_has_none() -> None:
    root, ours = nodes(3)
    assert nodes(0)[1].root() == EMPTY_ROOT
    assert ours.consistency(0) == ours.consistency(3) == []
    check_consistency(0, EMPTY_ROOT, 3, root, [])
    check_consistency(3, root, 3, root, [])
    for old_size, old_root in ((4, root), (3, bytes(32)), (0, root)):
        with pytest.raises(Unproven):
            check_consistency(old_size, old_root, 3, root, [])
    with pytest.raises(Unproven):
        check_consistency(2, nodes(2)[0], 3, root, [])
    with pytest.raises(Unproven):
        check_consistency(0, EMPTY_ROOT, 0, root, [])
    with pytest.raises(Unproven, match="no record 3"):
        check_inclusion(root, 3, 3, [], root)


def test_a_tile_that_is_too_short_is_damage() -> None:
    _, tiles = grown([leaf_hash(leaf) for leaf in LEAVES[:300]])
    with pytest.raises(Corrupt, match=r"tile/1/000\.p/1 holds 3 bytes"):
        Nodes(300, lambda tile: b"bad" if tile.level else tiles[tile]).root()
