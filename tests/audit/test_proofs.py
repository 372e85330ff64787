"""Proofs out of tiles hold, and nothing that is not a proof does."""

from collections.abc import Iterator

import pytest

from services.audit.tlog import Edge, Proofs, TilePath, leaf_hash, verify_consistency, verify_inclusion
from services.audit.tlog.proof import Range
from tests.audit.naive import naive_root, naive_tile

_SIZES = range(1, 71)
_LEAVES = [f"entry {at}".encode() for at in range(600)]
_HASHES = [leaf_hash(leaf) for leaf in _LEAVES]
_ROOTS = {size: naive_root(_LEAVES[:size]) for size in (*_SIZES, 255, 256, 257, 511, 512, 513, 600)}


def _proof(size: int, ranges: list[Range]) -> list[bytes]:
    proofs = Proofs(size)
    paths = proofs.tiles_for(ranges)
    assert all(path.end <= size for path in paths)
    tiles = {path: naive_tile(_HASHES, path.level or 0, path.index, path.width) for path in paths}
    return proofs.hashes(ranges, tiles)


def test_every_entry_is_proved_in_every_tree_up_to_70() -> None:
    for size in _SIZES:
        for index in range(size):
            proof = _proof(size, Proofs(size).inclusion(index))
            assert verify_inclusion(index, size, _HASHES[index], proof, _ROOTS[size])


def test_every_tree_up_to_70_is_proved_to_begin_with_every_smaller_one() -> None:
    for size in _SIZES:
        for old in range(1, size + 1):
            proof = _proof(size, Proofs(size).consistency(old))
            assert verify_consistency(old, size, _ROOTS[old], _ROOTS[size], proof)


@pytest.mark.parametrize("size", [255, 256, 257, 511, 512, 513, 600])
def test_proofs_across_the_edges_of_tiles_hold(size: int) -> None:
    for index in (0, 1, size // 2, size - 2, size - 1):
        proof = _proof(size, Proofs(size).inclusion(index))
        assert verify_inclusion(index, size, _HASHES[index], proof, _ROOTS[size])
    for old in (one for one in _ROOTS if one <= size):
        proof = _proof(size, Proofs(size).consistency(old))
        assert verify_consistency(old, size, _ROOTS[old], _ROOTS[size], proof)


def _damaged(proof: list[bytes]) -> Iterator[list[bytes]]:
    for at in range(len(proof)):
        flipped = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        yield [*proof[:at], flipped, *proof[at + 1 :]]
        yield proof[:at] + proof[at + 1 :]
        yield [*proof[:at], proof[at][:31], *proof[at + 1 :]]
        yield [*proof[:at], proof[at] + b"\x00", *proof[at + 1 :]]
        if at:
            yield [*proof[: at - 1], proof[at], proof[at - 1], *proof[at + 1 :]]
    yield [*proof, _HASHES[0]]
    yield [_HASHES[0], *proof]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64, 70])
def test_a_damaged_inclusion_proof_proves_nothing(size: int) -> None:
    for index in range(size):
        proof = _proof(size, Proofs(size).inclusion(index))
        leaf, root = _HASHES[index], _ROOTS[size]
        assert not any(verify_inclusion(index, size, leaf, damaged, root) for damaged in _damaged(proof))
        others = [(at, size) for at in (*range(size), -1, size, size + 7) if at != index]
        assert not any(verify_inclusion(at, of, leaf, proof, root) for at, of in (*others, (index, 0), (index, -1)))
        assert not verify_inclusion(index, size, _HASHES[500], proof, root)
        assert not verify_inclusion(index, size, leaf, proof, _ROOTS[600])
        assert not verify_inclusion(index, size, leaf[:31], proof, root)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64, 70])
def test_a_damaged_consistency_proof_proves_nothing(size: int) -> None:
    for old in range(1, size + 1):
        proof = _proof(size, Proofs(size).consistency(old))
        ends = _ROOTS[old], _ROOTS[size]
        for damaged in _damaged(proof):
            assert not verify_consistency(old, size, *ends, damaged), (old, size)
        assert not verify_consistency(old, size, _HASHES[501], _ROOTS[size], proof)
        assert not verify_consistency(old, size, _ROOTS[old], _HASHES[500], proof)
        assert not verify_consistency(size + 1, size, *ends, proof)
        assert not verify_consistency(0, size, *ends, proof)
        assert not verify_consistency(0, size, *ends, [])


def test_an_entry_or_size_that_the_log_does_not_have_has_no_proof() -> None:
    for index in (-1, 10, 11):
        with pytest.raises(ValueError, match="no entry"):
            Proofs(10).inclusion(index)
    for old in (0, 11, -1):
        with pytest.raises(ValueError, match="no proof"):
            Proofs(10).consistency(old)


def test_a_proof_needs_full_tiles_where_they_exist() -> None:
    assert Proofs(600).tiles_for(Proofs(600).inclusion(3)) == {TilePath(0, 0), TilePath(1, 0, 2), TilePath(0, 2, 88)}
    edge, _ = Edge().append(_HASHES)
    assert edge.root() == _ROOTS[600]
