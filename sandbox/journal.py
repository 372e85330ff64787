"""What reached the outside world: every call that a part received, kept over restarts, with secrets left out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

_SECRETS = frozenset(
    {
        "authorization",
        "authkey",
        "apikey",
        "token",
        "password",
        "client_secret",
        "access_token",
        "refresh_token",
        "id_token",
        "code_verifier",
        "x-soracom-token",
        "x-soracom-api-key",
    }
)
LEFT_OUT = "(left out)"
_LONGEST_TEXT = 20_000


class Journal:
    """One part's journal: a file with a JSON object per line."""

    def __init__(self, path: Path, *, secrets: frozenset[str] = frozenset()) -> None:
        self._secrets = _SECRETS | secrets
        path.parent.mkdir(parents=True, exist_ok=True)
        self._entries: list[dict[str, Any]] = []
        if path.exists():
            # A line that was cut off by the end of the process is not an entry.
            lines = path.read_bytes().split(b"\n")
            self._entries = [orjson.loads(line) for line in lines[:-1] if line]
            path.write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in self._entries))
        self._file = path.open("ab")

    def write(
        self, method: str, path: str, *, body: object, answer: Mapping[str, object], **more: object
    ) -> dict[str, Any]:
        """Keep one call. It is in the file before this returns."""
        entry: dict[str, Any] = {
            "sequence": len(self._entries) + 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "method": method,
            "path": path,
            **{name: self._clean(value) for name, value in more.items() if value},
            "body": self._clean(body),
            "answer": self._clean(dict(answer)),
        }
        self._file.write(orjson.dumps(entry, default=str) + b"\n")
        self._file.flush()
        self._entries.append(entry)
        return entry

    def entries(self, after: int = 0) -> list[dict[str, Any]]:
        """The calls with a sequence above `after`, oldest first."""
        return self._entries[after:]

    def close(self) -> None:
        self._file.close()

    def _clean(self, value: object) -> object:
        match value:
            case dict():
                return {
                    str(name): LEFT_OUT if str(name).lower() in self._secrets else self._clean(inner)
                    for name, inner in value.items()
                }
            case list() | tuple():
                return [self._clean(inner) for inner in value]
            case str() if len(value) > _LONGEST_TEXT:
                return value[:_LONGEST_TEXT] + "…"
            case bytes():
                return f"{len(value)} bytes"
            case _:
                return value
