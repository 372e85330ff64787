"""Where a log is read from: its HTTP address, or a directory with the same paths."""

import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx2

from services.audit.evidence import verify

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
        status, data = self._answer(path)
        if status != httpx2.codes.OK:
            raise UnreadableError(f"{path}: HTTP {status} from {self._client.base_url}")
        return data

    def _answer(self, path: str) -> tuple[int, bytes]:
        for left in reversed(range(_TRIES)):
            try:
                with self._client.stream("GET", path) as answer:
                    if not left or answer.status_code not in _COMES_BACK:
                        return answer.status_code, _bounded(path, answer)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if not left:
                    raise UnreadableError(f"{path}: {type(error).__name__} at {self._client.base_url}") from error
            time.sleep(_PAUSE_SECONDS * (_TRIES - left))
        raise AssertionError("the last try returns or raises")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()


def _bounded(path: str, answer: httpx2.Response) -> bytes:
    """As it comes: an answer may be without end, and grow a thousandfold where it is unpacked."""
    data = bytearray()
    for part in answer.iter_bytes():
        data += part
        if len(data) > MAX_BYTES:
            raise UnreadableError(f"{path}: more than {MAX_BYTES} bytes")
    return bytes(data)


class DirectorySource:
    """A log in files, such as a copy that `save` made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes:
        """Raises `UnreadableError`."""
        try:
            return verify.read_file(self._folder / path, MAX_BYTES)
        except OSError as error:
            raise UnreadableError(f"{path}: {error.strerror}") from error
        except verify.UnreadableError as error:
            raise UnreadableError(str(error)) from error


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
