"""The keys of one log of an installation: those that it signs with, and those that it had before.

keys/audit/
  log-ed25519.pem  log-mldsa44.pem              it signs with these; log-2-….pem: the second log
  log-ed25519.next.pem  log-mldsa44.next.pem    only while it is given other keys
  log-past-vkeys                                verifier keys that it had before, the newest first
"""

from dataclasses import dataclass
from pathlib import Path

from lostphone.key_files import mldsa_key, private_key
from lostphone.private_file import replace_private
from services.audit.tlog import log_vkey

LOG_ORIGIN = "lostphone.example/log"
_KINDS = ("ed25519", "mldsa44")


@dataclass(frozen=True)
class LogKeys:
    """Of the log with this number, the first of which is 1."""

    folder: Path
    number: int

    @property
    def origin(self) -> str:
        return LOG_ORIGIN if self.number == 1 else f"{LOG_ORIGIN}-{self.number}"

    @property
    def files(self) -> list[Path]:
        """Ed25519 and ML-DSA-44."""
        return [self._file(f"{kind}.pem") for kind in _KINDS]

    def make(self) -> None:
        """Make what is missing."""
        _make(self.files)

    def vkeys(self, origin: str | None = None) -> list[str]:
        """Verifier keys of those that it signs with."""
        return [log_vkey(file, origin or self.origin) for file in self.files]

    def past_vkeys(self) -> list[str]:
        """Verifier keys of those that it had before, the newest first."""
        file = self._file("past-vkeys")
        return file.read_text().split() if file.exists() else []

    def all_vkeys(self) -> list[str]:
        """Verifier keys of all that it signs or signed with, the newest first."""
        return [*self.vkeys(), *self.past_vkeys()]

    @property
    def are_changing(self) -> bool:
        """Whether other ones were made and are not in their place yet."""
        return any(file.exists() for file in self._next_files)

    @property
    def are_moving(self) -> bool:
        """Whether some of the other ones are in their place already, and some are not."""
        first, last = self._next_files
        return last.exists() and not first.exists()

    def make_next(self) -> list[Path]:
        """Make other ones, or those of them that are missing; the present ones are not touched."""
        _make(self._next_files)
        return self._next_files

    def replace(self) -> None:
        """Put those of `make_next` in their place. The verifier keys of the old ones are kept, and they are not."""
        if not self.are_moving:
            past = self.past_vkeys()
            old = [vkey for vkey in self.vkeys() if vkey not in past]
            replace_private(self._file("past-vkeys"), "".join(f"{vkey}\n" for vkey in (*old, *past)).encode())
        for new, file in zip(self._next_files, self.files, strict=True):
            if new.exists():
                new.replace(file)

    @property
    def _next_files(self) -> list[Path]:
        return [self._file(f"{kind}.next.pem") for kind in _KINDS]

    def _file(self, name: str) -> Path:
        return self.folder / (f"log-{name}" if self.number == 1 else f"log-{self.number}-{name}")


def _make(files: list[Path]) -> None:
    ed25519, mldsa44 = files
    private_key(ed25519)
    mldsa_key(mldsa44)
