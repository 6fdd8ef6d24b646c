"""Tiles: names in their one right spelling, and the same tiles whatever the batches."""

import random

import pytest

from eventlog.merkle import Tree, leaf_hash
from eventlog.tile import Edge, Tile, covers, edge_at, parse_path, partial_tiles, regrown

LEAVES = [leaf_hash(b"%d" % n) for n in range(70_000)]


def tiles_of(size: int, seed: int) -> tuple[Edge, Tree, dict[Tile, bytes]]:
    edge, tree, dice, at = Edge(), Tree(), random.Random(seed), 0
    tiles: dict[Tile, bytes] = {}
    while at < size:
        count = min(dice.choice([1, 7, 300, 9_000]), size - at)
        full = edge.add(tree.extend(LEAVES[at : at + count]))
        assert not tiles.keys() & dict(full).keys(), "a full tile is given once"
        tiles.update(full)
        at += count
    tiles.update(edge.partials())
    return edge, tree, tiles


def test_paths_are_those_of_the_page() -> None:
    assert Tile(0, 1_234_067).path == "tile/0/x001/x234/067"
    assert Tile(3, 5, 17).path == "tile/3/005.p/17"
    assert Tile(1, 999).path == "tile/1/999"
    assert Tile(1, 1_000).path == "tile/1/x001/000"
    for tile in (Tile(0, 1_234_067), Tile(3, 5, 17), Tile(7, 0, 1), Tile(0, 10**18, 255)):
        assert parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/00/000", "tile/8/000", "tile/0/0", "tile/0/000/", "tile/0/x000/001", "tile/0/001/002", "tile/0/x1/000",
        "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p", "tile/entries/000", "/tile/0/000",
        "tile/0/../000", "tile/0/000\n", "tile/0/٠٠٠", "tile/0/" + "x001/" * 9 + "000", "tile/-1/000", "",
    ],
)  # fmt: skip
def test_no_other_spelling_names_a_tile(path: str) -> None:
    assert parse_path(path) is None


def test_a_tree_of_70_000_has_the_tiles_that_the_page_says() -> None:
    _, _, tiles = tiles_of(70_000, 1)
    widths = [(level, sorted(tile.width for tile in tiles if tile.level == level)) for level in range(3)]
    assert widths == [(0, [112] + [256] * 273), (1, [17, 256]), (2, [1])]
    assert partial_tiles(70_000) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 65_535, 65_536, 65_537, 70_000])
def test_batches_make_no_difference_and_the_root_is_the_trees(size: int) -> None:
    edge, tree, tiles = tiles_of(size, 2)
    assert tiles == tiles_of(size, 3)[2]
    assert edge.root() == tree.root()
    assert edge.size == size
    assert [tile for tile, _ in edge.partials()] == partial_tiles(size)


@pytest.mark.parametrize("size", [256, 300, 65_536, 66_000])
def test_the_edge_is_made_again_from_full_tiles_and_the_leaves_behind_them(size: int) -> None:
    edge, _, tiles = tiles_of(size, 4)
    full = {tile: data for tile, data in tiles.items() if tile.width == 256}
    start = size // 256 * 256
    again = edge_at(start, full.__getitem__)
    assert again.size == start
    assert regrown(again, LEAVES[start:size]) == []
    assert again.partials() == edge.partials()
    assert dict(regrown(Edge(), LEAVES[:size])) == full


def test_a_tile_is_covered_by_trees_that_have_all_of_it() -> None:
    assert [covers(size, Tile(1, 0, 2)) for size in (0, 511, 512, 9_999)] == [False, False, True, True]
