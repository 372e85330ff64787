"""Where a log is read from: its HTTP address, or a directory with the same paths."""

import asyncio
import threading
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx2

from services.audit.evidence import verify

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
        headers = {"Accept-Encoding": "gzip, identity", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        self._client = httpx2.AsyncClient(base_url=url.rstrip("/") + "/", headers=headers, timeout=30.0)
        self._patience = verify.PATIENCE_SECONDS
        # A loop of its own: nothing else can give up an answer that comes byte by byte.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def read(self, path: str) -> bytes:
        """Raises `UnreadableError`, once what may come back did not."""
        return asyncio.run_coroutine_threadsafe(self._read(path), self._loop).result()

    async def _read(self, path: str) -> bytes:
        for left in reversed(range(_TRIES)):
            try:
                return await self._answer(path, is_last=not left)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if not left:
                    raise UnreadableError(f"{path}: {type(error).__name__} at {self._client.base_url}") from error
            except TimeoutError:
                raise UnreadableError(f"{path}: {verify.TOO_SLOW}") from None
            except verify.UnreadableError as error:
                raise UnreadableError(f"{path}: {error}") from error
            await asyncio.sleep(_PAUSE_SECONDS * (_TRIES - left))
        raise AssertionError("the last try returns or raises")

    async def _answer(self, path: str, *, is_last: bool) -> bytes:
        async with asyncio.timeout(self._patience) as limit:
            try:
                async with self._client.stream("GET", path) as answer:
                    if answer.status_code in _COMES_BACK and not is_last:
                        raise httpx2.HTTPError(f"HTTP {answer.status_code}")
                    if answer.status_code != httpx2.codes.OK:
                        there = verify.elsewhere(answer.headers.get("location"))
                        raise verify.UnreadableError(f"HTTP {answer.status_code} from {self._client.base_url}{there}")
                    data = await self._body(answer, limit)
            finally:
                self._patience = self._left(limit)
        return verify.unpacked(answer.headers.get("content-encoding", ""), data)

    async def _body(self, answer: httpx2.Response, limit: asyncio.Timeout) -> bytes:
        """As it comes: it may be without end."""
        data = bytearray()
        async for part in answer.aiter_raw():
            data += part
            if len(data) > verify.MAX_FILE_BYTES:
                raise verify.UnreadableError("it is longer than it may be")
            left = min(verify.PATIENCE_SECONDS, self._left(limit) + len(part) / verify.SLOWEST_BYTES)
            limit.reschedule(self._loop.time() + left)
        return bytes(data)

    def _left(self, limit: asyncio.Timeout) -> float:
        return (limit.when() or 0.0) - self._loop.time()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._client.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class DirectorySource:
    """A log in files, such as a copy that `save` made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes:
        """Raises `UnreadableError`."""
        try:
            return verify.read_file(self._folder / path, verify.MAX_FILE_BYTES)
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
