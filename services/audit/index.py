"""The index of all chains: how many entries each subject has, which was the last, as of one size of the log.

Its root is an `index` entry. Then "this incident has exactly these entries" is shown by one row, and "there is no such
incident" by two neighbours; that the index itself is true, by making it again out of the whole log, as verifiers do.
Made anew each time out of the last entry of each chain.
"""

from bisect import bisect_left
from dataclasses import dataclass

from services.audit.domain.own import IndexRow
from services.audit.store import Connection
from services.audit.tlog import EMPTY_ROOT, Edge, Proofs, leaf_hash

# From the end of each chain to the end of the one before it, by the unique key of chains: entries between are not read.
_ROWS = """
WITH RECURSIVE head AS (
    (SELECT subject, n, leaf_hash, seq FROM entry WHERE subject IS NOT NULL ORDER BY subject DESC, n DESC LIMIT 1)
    UNION ALL
    SELECT below.* FROM head CROSS JOIN LATERAL (
        SELECT subject, n, leaf_hash, seq FROM entry WHERE entry.subject < head.subject
        ORDER BY subject DESC, n DESC LIMIT 1) AS below
)
SELECT subject, n + 1 AS n, leaf_hash AS hash, seq AS last_seq FROM head ORDER BY subject COLLATE "C"
"""


@dataclass(frozen=True, slots=True)
class IndexProof:
    """One row with its way to the root of the index."""

    at: int
    row: IndexRow
    hashes: tuple[bytes, ...]


class Index:
    """The rows, in the order of the bytes of their subjects."""

    def __init__(self, rows: list[IndexRow]) -> None:
        self.rows = rows
        self._subjects = [row.subject.encode() for row in rows]
        self._hashes = [leaf_hash(row.line()) for row in rows]

    @classmethod
    async def load(cls, connection: Connection) -> "Index":
        """As the log stands: call it with the log's state locked."""
        rows = await connection.fetch(_ROWS)
        return cls([IndexRow(row["subject"], row["n"], row["hash"], row["last_seq"]) for row in rows])

    @property
    def root(self) -> bytes:
        """Over all rows (RFC 6962)."""
        return self._range(0, len(self.rows)) if self.rows else EMPTY_ROOT

    def find(self, subject: str) -> IndexRow | None:
        """The row of a subject; None when it has no chain."""
        at = bisect_left(self._subjects, subject.encode())
        return self.rows[at] if at < len(self.rows) and self.rows[at].subject == subject else None

    def prove(self, subject: str) -> list[IndexProof]:
        """The row of a subject, or those between which it would stand, each proved."""
        at = bisect_left(self._subjects, subject.encode())
        if self.find(subject) is not None:
            return [self._prove(at)]
        return [self._prove(near) for near in (at - 1, at) if 0 <= near < len(self.rows)]

    def _prove(self, at: int) -> IndexProof:
        ranges = Proofs(len(self.rows)).inclusion(at)
        return IndexProof(at, self.rows[at], tuple(self._range(start, end) for start, end in ranges))

    def _range(self, start: int, end: int) -> bytes:
        edge, _ = Edge().append(self._hashes[start:end])
        return edge.root()
