"""What was published and certified, kept in files outside the database: a database that is restored from an older
backup gets it back. No leaf has it, and an authority does not certify the past again.

    checkpoint               the newest note (`guard`)
    timestamps/<sha256>.note a checkpoint that was certified, by the digest that its anchor names
    timestamps/<sha256>.tsr  what the authority answered
"""

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from services.audit.domain.leaf import open_leaf
from services.audit.guard import FILE
from services.audit.reader import LogReader
from services.audit.store import Connection
from services.audit.tlog import Checkpoint, NoteError, SignedNote, VerifierKey

_FOLDER = "timestamps"
_ANCHORS = """
SELECT seq, leaf FROM entry
WHERE kind = 'anchor' AND NOT EXISTS (SELECT FROM timestamp_response AS there WHERE there.seq = entry.seq) ORDER BY seq
"""
_SIZE = "SELECT size FROM log_state"
_CHECKPOINT = """
INSERT INTO checkpoint (size, root, note, signed_at) VALUES ($1, $2, $3, $4) ON CONFLICT (size) DO NOTHING
"""
_RESPONSE = """
INSERT INTO timestamp_response (size, response, seq, fetched_at) VALUES ($1, $2, $3, $4) ON CONFLICT (size) DO NOTHING
"""


class Kept:
    """The files of one log; None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def keep(self, note: bytes, response: bytes) -> None:
        """Keep a timestamp over a checkpoint, before the log speaks of it. Raises `OSError`."""
        if self._folder is None:
            return
        name = hashlib.sha256(note).hexdigest()
        (self._folder / _FOLDER).mkdir(parents=True, exist_ok=True)
        for file, data in ((f"{name}.note", note), (f"{name}.tsr", response)):
            new = self._folder / _FOLDER / f".{file}.{os.getpid()}"
            with new.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            new.replace(self._folder / _FOLDER / file)

    async def put_back(self, connection: Connection, keys: Sequence[VerifierKey]) -> None:
        """Give the database what it lacks: the newest note, if these keys signed it, and every timestamp whose
        anchor it has. What is not of this very log stays outside. Doing it again changes nothing. Raises `OSError`."""
        if self._folder is None:
            return
        newest = self._folder / FILE
        if newest.exists() and _is_signed(note := newest.read_bytes(), keys):
            await _put(connection, note, _moment(newest))
        for row in await connection.fetch(_ANCHORS):
            facts = open_leaf(row["leaf"]).header
            files = [self._folder / _FOLDER / f"{facts['note']}.{kind}" for kind in ("note", "tsr")]
            if not all(file.exists() for file in files):
                continue
            note, response = (file.read_bytes() for file in files)
            digests = [hashlib.sha256(data).hexdigest() for data in (note, response)]
            moment = _moment(files[1])
            if digests == [facts["note"], facts["response"]] and await _put(connection, note, moment):
                await connection.execute(_RESPONSE, facts["size"], response, row["seq"], moment)


def _is_signed(note: bytes, keys: Sequence[VerifierKey]) -> bool:
    try:
        SignedNote.parse(note).verified_by(keys)
    except NoteError:
        return False
    return True


async def _put(connection: Connection, note: bytes, moment: datetime) -> bool:
    """Whether the log has the root of this note, which is among its checkpoints then."""
    checkpoint = Checkpoint.parse(SignedNote.parse(note).text)
    if checkpoint.size > await connection.fetchval(_SIZE):
        return False
    if await LogReader(connection).root(checkpoint.size) != checkpoint.root:
        return False
    await connection.execute(_CHECKPOINT, checkpoint.size, checkpoint.root, note, moment)
    return True


def _moment(file: Path) -> datetime:
    """When it was written."""
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)
