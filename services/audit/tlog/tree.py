"""The Merkle tree of RFC 6962, section 2.1, grown at its right edge.

An `Edge` is all that a writer has to keep: the hashes of the tiles that are not full yet.

    edge, full_tiles = Edge().append([leaf_hash(b"first"), leaf_hash(b"second")])
    edge.root()
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from services.audit.tlog.tiles import TILE_WIDTH, Tile

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def leaf_hashes(leaves: Iterable[bytes]) -> list[bytes]:
    """The hash of each, in one pass."""
    sha256 = hashlib.sha256
    return [sha256(b"\x00" + leaf).digest() for leaf in leaves]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a number of hashes that is a power of two."""
    sha256 = hashlib.sha256
    level = list(hashes)
    while len(level) > 1:
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def fold(subtrees: Sequence[bytes]) -> bytes:
    """The root over perfect subtrees that stand from left to right, largest first."""
    root = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        root = node_hash(left, root)
    return root


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: its size, and the hashes of the open tile on each level, lowest level first."""

    size: int = 0
    open_tiles: tuple[tuple[bytes, ...], ...] = ()
    subtrees: tuple[bytes, ...] = ()
    """The roots of the perfect subtrees that the tree consists of, largest first."""

    @classmethod
    def of(cls, size: int, open_tiles: Iterable[Iterable[bytes]]) -> "Edge":
        """The edge with these open tiles."""
        tiles = tuple(map(tuple, open_tiles)) if size else ()
        return cls(size, tiles, tuple(chain.from_iterable(map(_perfect_subtrees, reversed(tiles)))))

    def append(self, leaf_hashes: Iterable[bytes]) -> tuple["Edge", list[Tile]]:
        """The edge after these leaves, and the tiles that became full on the way, in the order they did."""
        leaves = list(leaf_hashes)
        if len(leaves) == 1 and self.size and len(self.open_tiles[0]) < TILE_WIDTH - 1:
            return self._append_one(leaves[0]), []
        levels = [list(tile) for tile in self.open_tiles] or [[]]
        full: list[Tile] = []
        size = self.size
        at = 0
        while at < len(leaves):
            taken = leaves[at : at + TILE_WIDTH - len(levels[0])]
            at += len(taken)
            size += len(taken)
            levels[0] += taken
            _close_full(levels, size, full)
        return Edge.of(size, levels), full

    def _append_one(self, leaf_hash: bytes) -> "Edge":
        """Without the way through lists: most of a quiet log grows so."""
        subtrees, root, size = self.subtrees, leaf_hash, self.size
        while size & 1:
            root = node_hash(subtrees[-1], root)
            subtrees = subtrees[:-1]
            size >>= 1
        lowest, *others = self.open_tiles
        return Edge(self.size + 1, ((*lowest, leaf_hash), *others), (*subtrees, root))

    def root(self) -> bytes:
        """The root of the whole tree."""
        return fold(self.subtrees) if self.size else EMPTY_ROOT


def _close_full(levels: list[list[bytes]], size: int, full: list[Tile]) -> None:
    """Move the open tiles that are full to `full`, and their roots up."""
    level = 0
    while len(levels[level]) == TILE_WIDTH:
        root = perfect_root(levels[level])
        full.append(Tile(level, (size >> (8 * (level + 1))) - 1, b"".join(levels[level]), root))
        levels[level] = []
        level += 1
        if level == len(levels):
            levels.append([])
        levels[level].append(root)


@lru_cache(64)
def _open_subtree(hashes: tuple[bytes, ...]) -> bytes:
    """Remembered, because the tiles at the edge are asked for their roots again after every few entries."""
    return perfect_root(hashes)


def _perfect_subtrees(hashes: Sequence[bytes]) -> Iterable[bytes]:
    start = 0
    for bit in reversed(range(len(hashes).bit_length())):
        if len(hashes) >> bit & 1:
            yield _open_subtree(tuple(hashes[start : start + (1 << bit)]))
            start += 1 << bit
