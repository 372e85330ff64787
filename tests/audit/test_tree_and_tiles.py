"""The tree is RFC 6962's, however the leaves came; its tiles are those of c2sp.org/tlog-tiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from services.audit.tlog import EMPTY_ROOT, Edge, TilePath, leaf_hash, pack_bundle, unpack_bundle
from services.audit.tlog.tiles import paths_of
from tests.audit.naive import naive_root, naive_tile

_LEAVES = [f"entry {at}".encode() for at in range(1100)]
_HASHES = [leaf_hash(leaf) for leaf in _LEAVES]


def test_the_root_at_every_size_up_to_1100_is_that_of_the_recursive_definition() -> None:
    edge = Edge()
    assert edge.root() == EMPTY_ROOT == naive_root([])
    for size, hashed in enumerate(_HASHES, 1):
        edge, _ = edge.append([hashed])
        assert edge.root() == naive_root(_LEAVES[:size]), size


def test_the_root_is_the_one_that_another_library_finds() -> None:
    tree = InmemoryTree(algorithm="sha256")
    edge = Edge()
    for size, leaf in enumerate(_LEAVES[:300], 1):
        tree.append_entry(leaf)
        edge, _ = edge.append([leaf_hash(leaf)])
        assert edge.root() == tree.get_root(size)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 66_000])
def test_sizes_around_the_second_level_have_the_tiles_that_the_text_defines(size: int) -> None:
    hashes = [leaf_hash(at.to_bytes(4)) for at in range(size)]
    edge, tiles = Edge().append(hashes)
    assert edge.root() == naive_root([at.to_bytes(4) for at in range(size)])
    assert [(tile.level, tile.index) for tile in tiles if tile.level == 1] == ([(1, 0)] if size >= 65_536 else [])
    for tile in (*tiles[:3], *tiles[-3:]):
        assert tile.hashes == naive_tile(hashes, tile.level, tile.index, 256)
    assert [len(level) for level in edge.open_tiles] == [
        (size >> (8 * level)) % 256 for level in range(len(edge.open_tiles))
    ]


@given(st.lists(st.integers(0, 300), max_size=8))
def test_how_the_leaves_are_split_into_batches_changes_nothing(batches: list[int]) -> None:
    total = min(sum(batches), len(_HASHES))
    whole, whole_tiles = Edge().append(_HASHES[:total])
    edge, tiles = Edge(), []
    for count in batches:
        edge, more = edge.append(_HASHES[edge.size : min(edge.size + count, total)])
        tiles += more
    assert (edge.size, edge.root(), tiles) == (total, whole.root(), whole_tiles)


def test_the_published_example_of_a_tree_of_70000_has_the_tiles_it_names() -> None:
    tiles = [path for path in paths_of(70_000) if path.level is not None]
    widths = {(path.level, path.width) for path in tiles}
    assert widths == {(0, 256), (0, 112), (1, 256), (1, 17), (2, 1)}
    assert sum(path.level == 0 and path.width == 256 for path in tiles) == 273


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (TilePath(0, 0), "tile/0/000"),
        (TilePath(3, 1_234_067), "tile/3/x001/x234/067"),
        (TilePath(0, 273, 112), "tile/0/273.p/112"),
        (TilePath(None, 1_000, 1), "tile/entries/x001/000.p/1"),
    ],
)
def test_a_tile_is_found_under_the_path_of_the_standard(path: TilePath, text: str) -> None:
    assert str(path) == text
    assert TilePath.parse(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "tile/00/000", "tile/64/000", "tile/0/0", "tile/0/x000/001", "tile/0/001.p/0", "tile/0/001.p/256",
        "tile/0/001.p/01", "tile/entries", "tile/0/001/", "/tile/0/001", "tile/0/1000", "tile/0/x001/x234/067\n",
        "tile/-1/000", "tile/0/٠٠٠", "tile/0/001.p/1٢", "tile/0/001.p/1２",
    ],
)  # fmt: skip
def test_no_other_path_is_taken_for_a_tile(text: str) -> None:
    assert TilePath.parse(text) is None


@given(st.integers(0, 2**40), st.integers(1, 256), st.sampled_from([None, 0, 1, 5]))
def test_every_path_is_read_back(index: int, width: int, level: int | None) -> None:
    path = TilePath(level, index, width)
    assert TilePath.parse(str(path)) == path


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=20))
def test_a_bundle_gives_back_its_entries_and_one_that_is_cut_short_does_not(leaves: list[bytes]) -> None:
    bundle = pack_bundle(leaves)
    assert unpack_bundle(bundle) == leaves
    with pytest.raises(ValueError, match="ends inside"):
        unpack_bundle(bundle[:-1])


def test_a_leaf_that_is_too_long_for_a_bundle_is_refused() -> None:
    assert unpack_bundle(pack_bundle([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(ValueError, match="65536 bytes"):
        pack_bundle([bytes(65_536)])
