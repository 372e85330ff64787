"""`ops close-log`: the log is closed where it cannot be continued honestly, and another one goes on."""

import asyncio
from dataclasses import asdict
from pathlib import Path

import asyncpg

from lostphone import running
from lostphone.closed_log import NothingToCloseError, TimelineInUseError, set_aside
from lostphone.commands.backup import Postgres
from lostphone.commands.options import AsJson, DataDir
from lostphone.embedded import EmbeddedError
from lostphone.installation import Installation
from lostphone.screen import CouldNotError, SaidNoError, Sentence, progress, result, what
from lostphone.status import data_directory
from shared.postgres import MigrationError

_FAILURES = (
    OSError,
    OverflowError,
    ValueError,
    EmbeddedError,
    MigrationError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)


def close_log(*, postgres: Postgres = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """続けられないログを閉じ、次のログを始める · Close a log that cannot be continued, and begin the next one here.

    With --postgres only the tables are set aside, for `services.audit begin`. Nothing is lost.
    """
    try:
        if postgres is not None:
            _tables(postgres, as_json)
        else:
            _installation(data_directory(data_dir), as_json)
    except TimelineInUseError as error:
        raise SaidNoError("audit が動いています。先に止めてください。", str(error)) from error
    except NothingToCloseError as error:
        raise SaidNoError("ログは空です。閉じるものはありません。", str(error)) from error
    except _FAILURES as error:
        raise CouldNotError(f"閉じられません: {what(error)}", f"Not closed: {what(error)}") from error


def _tables(postgres: str, as_json: bool) -> None:
    aside = asyncio.run(set_aside(postgres))
    said = Sentence(f"ログのテーブルは {aside} にあります。", f"The tables of the log are in the schema {aside}.")
    result({"schema": aside}, as_json, lambda out: out.print(str(said)))


def _installation(directory: Path, as_json: bool) -> None:
    from lostphone.commands.on_database import on_database  # noqa: PLC0415 - the whole stack; others need not wait
    from lostphone.succession import SuccessionError, succeed  # noqa: PLC0415

    running.require_down(directory)
    before = Installation.read(directory)
    try:
        done = asyncio.run(on_database(before, succeed))
    except SuccessionError as error:
        raise SaidNoError(f"閉じられません: {error}", f"Not closed: {error}") from error
    said = Sentence(
        f"{done.closed} を {done.size} 件で閉じ、{done.origin} を始めました。lostphone up で起動します。",
        f"{done.closed} is closed at {done.size} entries, and {done.origin} goes on. Start it with lostphone up.",
    )
    result(asdict(done), as_json, lambda out: out.print(str(said), markup=False))
    if before.has_own_policy:
        progress(
            f"{before.log_policy_file} はご自身のものです。新しいログの鍵を加えてください。",
            f"{before.log_policy_file} is your own: name the keys of the new log in it.",
        )
