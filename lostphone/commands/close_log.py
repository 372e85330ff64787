"""`ops close-log`: makes room for a log under a new origin, where the old one cannot be continued honestly."""

import asyncio

import asyncpg

from lostphone.closed_log import NothingToCloseError, TimelineInUseError, set_aside
from lostphone.commands.backup import Postgres
from lostphone.commands.options import AsJson
from lostphone.screen import CouldNotError, SaidNoError, Sentence, result
from shared.postgres import MigrationError


def close_log(*, postgres: Postgres = None, as_json: AsJson = False) -> None:
    """続けられないログを閉じる · Set the tables of the timeline aside, for `services.audit begin`; nothing is lost."""
    if postgres is None:
        raise CouldNotError(
            "データベースのスーパーユーザーの DSN を --postgres で指定してください。",
            "Name the database, as its superuser, with --postgres.",
        )
    try:
        aside = asyncio.run(set_aside(postgres))
    except TimelineInUseError as error:
        raise SaidNoError("audit が動いています。先に止めてください。", str(error)) from error
    except NothingToCloseError as error:
        raise SaidNoError("ログは空です。閉じるものはありません。", str(error)) from error
    except (OSError, MigrationError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CouldNotError(f"閉じられません: {error}", f"Not closed: {error}") from error
    said = Sentence(f"ログのテーブルは {aside} にあります。", f"The tables of the log are in the schema {aside}.")
    result({"schema": aside}, as_json, lambda out: out.print(str(said)))
