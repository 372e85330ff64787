"""RFC 6962, section 2.1, as the text says it: recursive, slow, and independent of the code under test."""

import hashlib
from collections.abc import Sequence
from functools import cache


def naive_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    return _root(tuple(leaves))


@cache
def _root(leaves: tuple[bytes, ...]) -> bytes:
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + _root(leaves[:split]) + _root(leaves[split:])).digest()


def naive_tile(leaf_hashes: Sequence[bytes], level: int, index: int, width: int) -> bytes:
    """`MTH(D[(n * 256 + i) * 256**l : (n * 256 + i + 1) * 256**l])` for each i."""
    span = 256**level
    return b"".join(
        _perfect(leaf_hashes[(index * 256 + at) * span : (index * 256 + at + 1) * span]) for at in range(width)
    )


def _perfect(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    half = len(hashes) // 2
    return hashlib.sha256(b"\x01" + _perfect(hashes[:half]) + _perfect(hashes[half:])).digest()
