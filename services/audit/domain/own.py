"""What the log says about itself: the facts in leaves of the kinds `OWN`, beside `k`, `r` and `v`.

- `index`: `size` of the log before it; `rows`, how many chains; `root` of the tree over their rows.
- `export`: `incident`, `organisation`; `entries`, how many it has; `head`, leaf hash of the last of them, or null;
  `index`, where its index leaf stands; `disclosed`, digests of the fields that were asked for; `by`, who asked.
- `erasure`, `hold`: `event`, the one behind which it stands; `organisation`, `person`, `ground`; `fields`, how many
  were destroyed; `by`.
- `key`: `keys`, verifier keys with which the log goes on; `signed`, verifier key of the old one; `signature` by it over
  `key_statement`.
- `anchor`: `size` of a checkpoint; `note`, SHA-256 of all of its note; `method`, `rfc3161`; `response`, SHA-256 of what
  the authority answered.
- `restore`: `origin`, `size`, `root` of the last good checkpoint of the log that was closed; `note`, all of that
  checkpoint with its signatures, as it was published.

An `index` row is one line of canonical JSON: `{"head":…,"i":…,"last":…,"n":…}`; the rows stand in the order of the
bytes of `i`, and their tree is that of RFC 6962. Who holds the log makes the same rows, and so sees a false index.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.audit.domain.leaf import Json, canonical
from shared.events.reporter import PersonalDataErased


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One chain, as of one size of the log."""

    subject: str
    n: int
    """How many entries it has."""
    head: bytes
    """Leaf hash of the last of them."""
    last: int
    """Where that one stands in the log."""

    def line(self) -> bytes:
        """What is hashed as a leaf of the index."""
        return canonical({"head": self.head.hex(), "i": self.subject, "last": self.last, "n": self.n})


def index_facts(size: int, rows: int, root: bytes) -> Json:
    """The facts of an `index` leaf."""
    return {"size": size, "rows": rows, "root": root.hex()}


def export_facts(row: IndexRow | None, *, incident: str, organisation: str, index: int, by: str) -> Json:
    """The facts of an `export` leaf, but for `disclosed`."""
    return {
        "incident": incident,
        "organisation": organisation,
        "entries": row.n if row else 0,
        "head": row.head.hex() if row else None,
        "index": index,
        "by": by,
    }


def erasure_facts(event: str, organisation: str, by: str | None, said: PersonalDataErased) -> Json:
    """The facts of an `erasure` or `hold` leaf."""
    return {
        "event": event,
        "organisation": organisation,
        "person": said.person,
        "ground": said.ground,
        "fields": said.fields,
        "by": by,
    }


def key_statement(origin: str, keys: Sequence[str]) -> bytes:
    """What the old key signs: that the log of this origin goes on with these verifier keys."""
    return b"lostphone.log-keys/v1\n" + canonical({"keys": list(keys), "origin": origin})


def anchor_facts(size: int, note: str, method: str, response: str) -> Json:
    """The facts of an `anchor` leaf; digests in hex."""
    return {"size": size, "note": note, "method": method, "response": response}


def restore_facts(origin: str, size: int, root: bytes, note: bytes) -> Json:
    """The facts of a `restore` leaf."""
    return {"origin": origin, "size": size, "root": root.hex(), "note": note.decode()}
