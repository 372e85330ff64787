"""Where a log is read from: its HTTP address, or a directory with the same paths."""

import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx2

MAX_BYTES = 32 * 1024 * 1024
"""More than the largest bundle can have: 256 entries of 64 KB."""


_TRIES = 5
_PAUSE_SECONDS = 0.25
_COMES_BACK = (409, 425, 429, 502, 503, 504)
"""What a server answers that is busy, or has not got the tree of that size ready yet."""


class UnreadableError(Exception):
    """Something of the log could not be read; the message says what and why."""


class Source(Protocol):
    """A log in the paths of c2sp.org/tlog-tiles."""

    def read(self, path: str) -> bytes:
        """Raises `UnreadableError`."""


class HttpSource:
    """A log that is served. `bearer` is an auditor's token: entries are not public."""

    def __init__(self, url: str, bearer: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        self._client = httpx2.Client(base_url=url.rstrip("/") + "/", headers=headers, timeout=30.0)

    def read(self, path: str) -> bytes:
        """Raises `UnreadableError`, once what may come back did not."""
        answer = self._answer(path)
        if answer.status_code != httpx2.codes.OK:
            raise UnreadableError(f"{path}: HTTP {answer.status_code} from {self._client.base_url}")
        if len(answer.content) > MAX_BYTES:
            raise UnreadableError(f"{path}: more than {MAX_BYTES} bytes")
        return answer.content

    def _answer(self, path: str) -> httpx2.Response:
        for left in reversed(range(_TRIES)):
            try:
                answer = self._client.get(path)
            except httpx2.HTTPError as error:
                if not left:
                    raise UnreadableError(f"{path}: {type(error).__name__} at {self._client.base_url}") from error
            else:
                if not left or answer.status_code not in _COMES_BACK:
                    return answer
            time.sleep(_PAUSE_SECONDS * (_TRIES - left))
        raise AssertionError("the last try returns or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()


class DirectorySource:
    """A log in files, such as a copy that `save` made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes:
        """Raises `UnreadableError`."""
        file = self._folder / path
        try:
            if file.stat().st_size > MAX_BYTES:
                raise UnreadableError(f"{path}: more than {MAX_BYTES} bytes")
            return file.read_bytes()
        except OSError as error:
            raise UnreadableError(f"{path}: {error.strerror}") from error


class SavingSource:
    """Reads from another source, and keeps what it read in a directory."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._folder = folder

    def read(self, path: str) -> bytes:
        """Raises `UnreadableError`, also when the copy cannot be written."""
        data = self._source.read(path)
        file = self._folder / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except OSError as error:
            raise UnreadableError(f"{file}: {error.strerror}") from error
        return data
