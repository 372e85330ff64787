"""Inclusion and consistency proofs (RFC 6962, sections 2.1.1 and 2.1.2), made out of tiles, and their verification.

proofs = Proofs(size)
needed = proofs.tiles_for(proofs.inclusion(index))         # fetch these
hashes = proofs.hashes(proofs.inclusion(index), fetched)   # leaf's sibling first
verify_inclusion(index, size, leaf, hashes, root)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.audit.tlog.tiles import HASH_BYTES, TILE_WIDTH, TilePath
from services.audit.tlog.tree import fold, node_hash, perfect_root

type Range = tuple[int, int]
"""Leaves from, up to but not including; its hash is one line of a proof."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """Proofs in a tree of one size."""

    size: int

    def inclusion(self, index: int) -> list[Range]:
        """The subtrees that prove one leaf. Raises `ValueError` when the tree does not have it."""
        if not 0 <= index < self.size:
            raise ValueError(f"a log of {self.size} entries has no entry {index}")
        return list(_inclusion(index, 0, self.size))

    def consistency(self, old_size: int) -> list[Range]:
        """The subtrees that prove that this tree begins with the older one. Raises `ValueError` out of range."""
        if not 0 < old_size <= self.size:
            raise ValueError(f"no proof leads from {old_size} to {self.size}")
        return [] if old_size == self.size else list(_consistency(old_size, 0, self.size, whole=True))

    def tiles_for(self, ranges: Sequence[Range]) -> set[TilePath]:
        """The tiles that hold what these subtrees are computed from."""
        return {self._tile(height, index) for item in ranges for height, index in _nodes(*item)}

    def hashes(self, ranges: Sequence[Range], tiles: Mapping[TilePath, bytes]) -> list[bytes]:
        """The lines of the proof."""
        return [fold([self._node(height, index, tiles) for height, index in _nodes(*item)]) for item in ranges]

    def _tile(self, height: int, index: int) -> TilePath:
        level = height // 8
        at = (index << (height % 8)) // TILE_WIDTH
        width = min(TILE_WIDTH, (self.size >> (8 * level)) - at * TILE_WIDTH)
        return TilePath(level, at, width)

    def _node(self, height: int, index: int, tiles: Mapping[TilePath, bytes]) -> bytes:
        tile = tiles[self._tile(height, index)]
        count = 1 << (height % 8)
        first = (index * count) % TILE_WIDTH
        return perfect_root([tile[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in range(first, first + count)])


def _split(count: int) -> int:
    """The largest power of two below a number of leaves."""
    return 1 << ((count - 1).bit_length() - 1)


def _inclusion(index: int, start: int, end: int) -> Iterator[Range]:
    if end - start == 1:
        return
    middle = start + _split(end - start)
    if index < middle:
        yield from _inclusion(index, start, middle)
        yield (middle, end)
    else:
        yield from _inclusion(index, middle, end)
        yield (start, middle)


def _consistency(old: int, start: int, end: int, *, whole: bool) -> Iterator[Range]:
    if old == end:
        if not whole:
            yield (start, end)
        return
    middle = start + _split(end - start)
    if old <= middle:
        yield from _consistency(old, start, middle, whole=whole)
        yield (middle, end)
    else:
        yield from _consistency(old, middle, end, whole=False)
        yield (start, middle)


def subtrees(size: int) -> list[Range]:
    """The perfect subtrees that a tree of this size consists of, left to right; `fold` their hashes for its root."""
    ranges: list[Range] = []
    start = 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            ranges.append((start, start + (1 << bit)))
            start += 1 << bit
    return ranges


def _nodes(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The perfect subtrees of a range that a proof names, as (height, index), left to right."""
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf with this hash stands at `index` of the tree with this size and root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or any(len(item) != HASH_BYTES for item in (leaf, root, *proof)):
        return False
    node, last, computed = index, size - 1, leaf
    for item in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            computed = node_hash(item, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, item)
        node, last = node >> 1, last >> 1
    return last == 0 and computed == root


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `size` begins with the tree of `old_size` (RFC 9162, 2.1.4.2). An empty old tree proves
    nothing, so it is refused."""
    if not 0 < old_size <= size or any(len(item) != HASH_BYTES for item in (old_root, root, *proof)):
        return False
    if old_size == size:
        return not proof and old_root == root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old_computed = computed = path[0]
    for item in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old_computed, computed = node_hash(item, old_computed), node_hash(item, computed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            computed = node_hash(computed, item)
        node, last = node >> 1, last >> 1
    return last == 0 and old_computed == old_root and computed == root
