"""`ops rotate`: new keys and passwords while everything runs."""

from typing import Annotated

import typer

from lostphone import rotation
from lostphone.commands.options import AsJson, DataDir
from lostphone.installation import SERVICES
from lostphone.screen import CouldNotError, Sentence, result
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
