"""`ops rotate`: new keys and passwords; only for new keys of the log everything has to stand still."""

import asyncio
from dataclasses import asdict
from typing import Annotated

import asyncpg
import typer

from lostphone import rotation, running
from lostphone.commands.options import AsJson, DataDir
from lostphone.embedded import EmbeddedError
from lostphone.installation import SERVICES, Installation
from lostphone.screen import CouldNotError, SaidNoError, Sentence, progress, result, what
from lostphone.status import data_directory
from lostphone.topics import BrokerError

rotate = typer.Typer(help="鍵とパスワードの更新 · New keys and passwords.", no_args_is_help=True)


@rotate.command("event-key")
def event_key(*, service: Annotated[str, typer.Argument()], data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """イベント署名鍵を更新 · A new key for a service to sign events with; no event is lost."""
    if service not in SERVICES:
        raise CouldNotError(f"{service} というサービスはありません。", f"There is no service {service}.")
    before, after = rotation.rotate_event_key(data_directory(data_dir), service)
    result(
        {"service": service, "before": before, "after": after}, as_json, lambda out: out.print(f"{before} → {after}")
    )


@rotate.command("kafka-password")
def kafka_password(
    *, principal: Annotated[str, typer.Argument()], data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Kafka のパスワードを更新 · A new password for a principal, or the first one of a new integrator."""
    try:
        rotation.rotate_kafka_password(data_directory(data_dir), principal)
    except BrokerError as error:
        raise CouldNotError(f"Kafka で失敗しました: {error}", f"Kafka: {error}") from error
    said = Sentence(f"{principal} のパスワードを更新しました。", f"{principal} has a new password.")
    result({"principal": principal}, as_json, lambda out: out.print(str(said)))


@rotate.command("log-keys")
def log_keys(*, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """ログの鍵を更新(停止中に)· New keys for the timeline's log, which the old one signs. Everything must be down."""
    from lostphone.commands.on_database import on_database  # noqa: PLC0415 - the whole stack; others need not wait
    from lostphone.log_rotation import change_keys  # noqa: PLC0415
    from services.audit.guard import ForkedError  # noqa: PLC0415

    directory = data_directory(data_dir)
    running.require_down(directory)
    installation = Installation.read(directory)
    try:
        done = asyncio.run(on_database(installation, change_keys))
    except ForkedError as error:
        raise SaidNoError(f"更新できません: {error}", f"No other keys: {error}") from error
    except (OSError, ValueError, EmbeddedError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CouldNotError(f"更新できません: {what(error)}", f"No other keys: {what(error)}") from error
    said = Sentence(
        f"{done.origin} は新しい鍵で続きます: {done.after[0]}。古い鍵も読む人に残してください。",
        f"{done.origin} goes on with {done.after[0]}. Tell its readers and witnesses, who keep the old key as well.",
    )
    result(asdict(done), as_json, lambda out: out.print(str(said), markup=False))
    if installation.has_own_policy:
        progress(
            f"{installation.log_policy_file} はご自身のものです。新しい鍵を加えてください。",
            f"{installation.log_policy_file} is your own: name the new keys in it, beside the old ones.",
        )
