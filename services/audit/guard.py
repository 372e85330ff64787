"""Refuses to write what would fork the log: after a restore of an older backup, the same sizes would be signed again
over other entries.

What was published last is kept in a file outside the database; each witness keeps what it saw. A log that does not
continue all of them is not written to. docs/timeline.md says how it is recovered.
"""

import os
from pathlib import Path
from typing import Any

from services.audit.reader import LogReader
from services.audit.tlog import Checkpoint, CheckpointError, NoteError, SignedNote, VerifierKey
from services.audit.witnesses import Witnesses
from shared.messaging import DependencyUnavailableError

FILE = "checkpoint"


class ForkedError(DependencyUnavailableError):
    """The database does not continue what was published. Nothing is written until it is recovered."""


class Guard:
    """What is known of the log outside its database."""

    def __init__(self, origin: str, keys: list[VerifierKey], folder: Path | None, witnesses: Witnesses | None) -> None:
        self.origin = origin
        self._keys = keys
        self._folder = folder
        self._witnesses = witnesses
        self._seen: list[tuple[str, Checkpoint]] = []

    async def look(self) -> None:
        """Ask the witnesses what they saw last. One that does not answer, or tells what the log never signed, says
        nothing."""
        seen: list[tuple[str, Checkpoint]] = []
        for name, note in await self._witnesses.views(self.origin) if self._witnesses is not None else []:
            try:
                seen.append((f"the witness {name}", self._opened(note)))
            except (NoteError, CheckpointError):
                continue
        self._seen = seen

    async def check(self, connection: Any, size: int) -> None:
        """Raises `ForkedError` when the committed log of this size does not continue what is known outside, and
        `DamagedError`."""
        views = list(self._seen)
        if (kept := self._kept()) is not None:
            views.append((f"{self._folder}/{FILE}", kept))
        for holder, checkpoint in views:
            if checkpoint.size > size:
                raise ForkedError(
                    f"the log: {holder} knows {checkpoint.size} signed entries and the database has {size}. "
                    "It is an older backup; recover the entries before anything is written (docs/timeline.md)"
                )
            if not await LogReader(connection).continues(size, checkpoint):
                raise ForkedError(
                    f"the log: its first {checkpoint.size} entries are not those that {holder} knows as signed "
                    "(docs/timeline.md, recovery)"
                )

    def keep(self, note: bytes) -> None:
        """Keep the newest note, before it is published. Raises `OSError`."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / f".{FILE}.{os.getpid()}"
        with new.open("wb") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._folder / FILE)

    def require_newest(self, closed: Checkpoint) -> None:
        """Raises `ForkedError` when the log that this is of was published beyond it, or the kept note is of another."""
        if self._folder is None or not (self._folder / FILE).exists():
            return
        kept = Checkpoint.parse(SignedNote.parse((self._folder / FILE).read_bytes()).text)
        if (kept.origin, kept.size, kept.root) != (closed.origin, closed.size, closed.root):
            raise ForkedError(
                f"{self._folder / FILE} is of {kept.origin} with {kept.size} entries, and {closed.origin} with "
                f"{closed.size} was named: a log is closed at the newest checkpoint that was published"
            )

    def set_aside(self, closed: Checkpoint) -> None:
        """Let a new log publish after this checkpoint of another one, whose newest note stays here under another name.
        Raises as `require_newest`."""
        self.require_newest(closed)
        if self._folder is not None and (self._folder / FILE).exists():
            (self._folder / FILE).replace(self._folder / f"{FILE}.closed-{closed.size}")

    def _kept(self) -> Checkpoint | None:
        if self._folder is None or not (self._folder / FILE).exists():
            return None
        try:
            return self._opened((self._folder / FILE).read_bytes())
        except (OSError, NoteError, CheckpointError) as error:
            raise ForkedError(f"the log: {self._folder / FILE} cannot be read: {error}") from error

    def _opened(self, data: bytes) -> Checkpoint:
        checkpoint, _ = Checkpoint.signed(SignedNote.parse(data), self._keys)
        if checkpoint.origin != self.origin:
            raise CheckpointError(f"it is of {checkpoint.origin}")
        return checkpoint
