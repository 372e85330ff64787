"""Tiles and entry bundles, and their paths (c2sp.org/tlog-tiles): 256 hashes a tile, 256 entries a bundle."""

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

TILE_WIDTH = 256
HASH_BYTES = 32
MAX_LEAF_BYTES = 65_535
"""An entry's length is written as 16 bits."""

_PATH = re.compile(
    r"tile/(?P<level>0|[1-9]\d?|entries)/(?P<index>(?:x\d{3}/){0,6}\d{3})(?:\.p/(?P<width>[1-9]\d{0,2}))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One full tile: the hashes `[256 * index, 256 * (index + 1))` of its level."""

    level: int
    index: int
    hashes: bytes
    root: bytes
    """The hash for the level above."""


@dataclass(frozen=True, slots=True)
class TilePath:
    """Where a tile or a bundle is served. `level` None is a bundle of entries; `width` below 256 is a partial one."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __str__(self) -> str:
        level = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{_digits(self.index)}{partial}"

    @classmethod
    def parse(cls, path: str) -> "TilePath | None":
        """The reverse; None for anything that is not exactly a path."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        index = int(match["index"].replace("x", "").replace("/", ""))
        width = int(match["width"] or TILE_WIDTH)
        level = None if match["level"] == "entries" else int(match["level"])
        if (level or 0) > 63 or (match["width"] and width >= TILE_WIDTH) or match["index"] != _digits(index):
            return None
        return cls(level, index, width)

    @property
    def end(self) -> int:
        """How large the log must be to have all of it."""
        return int((self.index * TILE_WIDTH + self.width) << (8 * (self.level or 0)))


def _digits(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03d}")
    return "/".join(groups)


def paths_of(size: int) -> Iterable[TilePath]:
    """Every tile and bundle of a log of this size: the full ones and the partial ones at its edge."""
    for level in (None, *range(8)):
        hashes = size >> (8 * (level or 0))
        for index in range(hashes // TILE_WIDTH):
            yield TilePath(level, index)
        if hashes % TILE_WIDTH:
            yield TilePath(level, hashes // TILE_WIDTH, hashes % TILE_WIDTH)


def pack_bundle(leaves: Iterable[bytes]) -> bytes:
    """The bytes of a bundle. Raises `ValueError` for a leaf that is too long."""
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > MAX_LEAF_BYTES:
            raise ValueError(f"a leaf of {len(leaf)} bytes does not fit; at most {MAX_LEAF_BYTES}")
        parts += (struct.pack(">H", len(leaf)), leaf)
    return b"".join(parts)


class BundleError(ValueError):
    """A bundle ends in the middle of a leaf; `leaves` are those before."""

    def __init__(self, leaves: list[bytes]) -> None:
        super().__init__("the bundle ends inside an entry")
        self.leaves = leaves


def unpack_bundle(bundle: bytes) -> list[bytes]:
    """The leaves of a bundle. Raises `BundleError`."""
    leaves: list[bytes] = []
    at, end = 0, len(bundle)
    while at < end:
        start = at + 2
        if start > end:
            raise BundleError(leaves)
        at = start + (bundle[at] << 8 | bundle[at + 1])
        if at > end:
            raise BundleError(leaves)
        leaves.append(bundle[start:at])
    return leaves
