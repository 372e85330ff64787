"""`ops ocsf`: the SIEM feed, built again from the timeline."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import orjson
import typer
from aiokafka.errors import KafkaError
from pydantic import SecretStr
from rich.console import Console

from lostphone import running
from lostphone.commands.options import AsJson, DataDir
from lostphone.installation import Installation
from lostphone.screen import CouldNotError, Sentence, progress, result, what
from lostphone.status import data_directory
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.feeds.replay import from_own_topics, from_timeline
from shared.events import KeyRing
from shared.messaging.kafka import KafkaConnection, OutgoingRecord, Producer

ocsf = typer.Typer(help="SIEM 向けの配信(OCSF)· The feed for a SIEM (OCSF).", no_args_is_help=True)

_BATCH = 500


@dataclass(frozen=True)
class _Sources:
    """Where the timeline is, and Kafka, as whoever may write the feed."""

    dsn: str
    kafka: KafkaConnection
    keys_file: Path


@ocsf.command("replay")
def replay(
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="この時刻以降に記録されたもの(UTC)· Only what was recorded since then, UTC.",
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
        ),
    ] = None,
    to_stdout: Annotated[
        bool, typer.Option("--stdout", help="Kafka に送らず標準出力へ · Print one event a line; send nothing.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="数えるだけ · Count; send and print nothing.")] = False,
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar="LOSTPHONE_POSTGRES_DSN",
            help="audit のデータベース(既定 動作中の環境)· The audit service's database.",
            show_default=False,
        ),
    ] = None,
    ocsf_version: Annotated[
        OcsfVersion,
        typer.Option(
            envvar="LOSTPHONE_OCSF_VERSION",
            help="OCSF の版。配信と同じものを · Of OCSF: the one that the feed has, the audit service's setting.",
        ),
    ] = OcsfVersion.V1_8,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """記録から SIEM 向けの配信を作り直す · Build the feed again: same events, same bytes; a SIEM drops what it has.

    Kafka and keys: of the running installation, else as the audit service's own variables say
    (LOSTPHONE_KAFKA_BOOTSTRAP and so on, LOSTPHONE_EVENT_KEYS_FILE).
    """
    sources = _sources(dsn, data_directory(data_dir))
    since = since.replace(tzinfo=UTC) if since is not None and since.tzinfo is None else since
    mode = "count" if dry_run else "print" if to_stdout else "send"
    try:
        told = asyncio.run(_replay(sources, ocsf_version, since, mode))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, KafkaError, OSError, OverflowError) as error:
        reason = what(error)
        raise CouldNotError(f"最後まで作れませんでした: {reason}", f"It could not be finished: {reason}") from error
    if mode == "print":
        progress(f"{told.total()} 件を出力しました。", f"{told.total()} events printed.")
        return
    said = {"events": told.total(), "sent": mode == "send", "by_event": dict(sorted(told.items()))}
    result(said, as_json, lambda out: _draw(out, said))


async def _replay(sources: _Sources, version: OcsfVersion, since: datetime | None, mode: str) -> Counter[str]:
    told: Counter[str] = Counter()
    producer = Producer(sources.kafka, "lostphone-ocsf-replay")
    batch: list[OutgoingRecord] = []
    try:
        async for record in _records(sources, version, since):
            told[orjson.loads(record.value or b"")["metadata"]["event_code"]] += 1
            if mode == "print":
                sys.stdout.buffer.write((record.value or b"") + b"\n")
            if mode == "send":
                batch.append(record)
                if len(batch) == _BATCH:
                    await _send(producer, batch)
        if batch:
            await _send(producer, batch)
    finally:
        await producer.close()
        sys.stdout.buffer.flush()
    return told


async def _records(sources: _Sources, version: OcsfVersion, since: datetime | None) -> AsyncIterator[OutgoingRecord]:
    connection = await asyncpg.connect(sources.dsn, timeout=10, server_settings={"search_path": "audit"})
    try:
        async for record in from_timeline(connection, version, since):
            yield record
        keys = KeyRing(sources.keys_file)
        async for record in from_own_topics(sources.kafka, connection, keys, version, since):
            yield record
    finally:
        await connection.close(timeout=5)


async def _send(producer: Producer, batch: list[OutgoingRecord]) -> None:
    failed = next((error for error in await producer.send(batch) if error is not None), None)
    if failed is not None:
        raise failed
    batch.clear()


def _sources(dsn: str | None, data_dir: Path) -> _Sources:
    told: Mapping[str, str] = os.environ
    if "LOSTPHONE_KAFKA_BOOTSTRAP" not in told:
        told = _told_to_audit(data_dir)
    dsn, keys_file = dsn or told.get("LOSTPHONE_POSTGRES_DSN"), told.get("LOSTPHONE_EVENT_KEYS_FILE")
    if dsn is None or keys_file is None:
        raise CouldNotError(
            "LOSTPHONE_POSTGRES_DSN と LOSTPHONE_EVENT_KEYS_FILE も指定してください。",
            "Set LOSTPHONE_POSTGRES_DSN and LOSTPHONE_EVENT_KEYS_FILE too.",
        )
    password = told.get("LOSTPHONE_KAFKA_PASSWORD")
    kafka = KafkaConnection(
        told["LOSTPHONE_KAFKA_BOOTSTRAP"],
        told.get("LOSTPHONE_KAFKA_SECURITY", "PLAINTEXT"),
        told.get("LOSTPHONE_KAFKA_USERNAME"),
        SecretStr(password) if password else None,
        told.get("LOSTPHONE_KAFKA_CA_FILE"),
    )
    return _Sources(dsn, kafka, Path(keys_file))


def _told_to_audit(data_dir: Path) -> Mapping[str, str]:
    """The variables of the audit service in the running installation: it alone may write the feed."""
    from lostphone.environment import Facts, NanoMDMFacts, service_environment  # noqa: PLC0415 - brings the sandbox

    status = running.running(data_dir)
    if status is None:
        raise CouldNotError(
            "動作中の環境がありません。lostphone up で起動するか、audit の環境変数を指定してください。",
            "No installation runs here. Start one with lostphone up, or set the audit service's variables.",
        )
    installation, nothing = Installation.read(data_dir), NanoMDMFacts(url="", dsn="")
    return service_environment(
        "audit", Facts(installation, status.kafka.bootstrap, status.postgres["audit"].dsn, nothing)
    )


def _draw(out: Console, said: dict[str, Any]) -> None:
    for name, count in said["by_event"].items():
        out.print(f"{count:>8}  {name}")
    words = ("件を送りました", "events sent") if said["sent"] else ("件(送っていません)", "events; none was sent")
    out.print(str(Sentence(f"{said['events']} {words[0]}", f"{said['events']} {words[1]}")))
