"""`tail`: the events as they arrive in Kafka, each with its checked signature."""

import os
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from lostphone import running
from lostphone.commands.options import AsJson, DataDir
from lostphone.kafka_access import connection_from_environment, running_connection
from lostphone.screen import CouldNotError, Sentence, console, end_when_nobody_reads, foreign, write_json
from lostphone.status import data_directory
from lostphone.topic_reader import follow
from lostphone.topics import BrokerError
from shared.events import LOG_TOPIC, TIMELINE_TOPIC, Event, KeyRing, Reading, Received, Unopened, read
from shared.events.contracts.topics import OCSF_TOPIC
from shared.events.payload import in_zone

_WITHOUT_EVENTS = (TIMELINE_TOPIC, OCSF_TOPIC)
"""JSON that nobody signed: `lostphone verify` proves what the timeline says, which the other one refers to."""


def tail(
    *,
    topics: Annotated[
        list[str] | None,
        typer.Argument(help="トピックまたは型(既定 log)· Topics, or types such as device-lost; default the log."),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="最初から · What is there already, too.")
    ] = False,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="いまの末尾で終わる · End at what is there now.")
    ] = False,
    incident: Annotated[str | None, typer.Option(help="この案件だけ · Only this subject.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="件数で終わる · End after so many.")] = None,
    data_dir: DataDir = None,
    bootstrap: Annotated[
        str | None, typer.Option(help="Kafka のアドレス · Broker; default the running installation.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="公開鍵ファイル · event-keys.json to check signatures with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """イベントを流れるまま表示 · Follow events live, with who did it and whether the signature verifies.

    timeline と ocsf は JSON のまま · `timeline` and `ocsf` are shown as the JSON that they are.
    """
    connection, keyring = _sources(data_directory(data_dir), bootstrap, keys)
    out = console()
    if not until_end:
        end_when_nobody_reads()
    shown = 0
    try:
        arriving = follow(
            connection,
            [topic_name(topic) for topic in topics or ["log"]],
            from_beginning=from_beginning,
            until_end=until_end,
        )
        # Partitions come one after the other; what is there already can be put in the order in which it was written.
        for received in sorted(arriving, key=lambda record: record.timestamp_ms) if until_end else arriving:
            if incident is not None and received.key != incident.encode():
                continue
            if received.topic in _WITHOUT_EVENTS and not isinstance(received.value, Unopened):
                _show_json(out, received, as_json)
            elif as_json:
                write_json(describe(read(received, keyring)))
            else:
                _draw(out, read(received, keyring))
            shown += 1
            if limit is not None and shown >= limit:
                return
    except BrokerError as error:
        raise CouldNotError(f"Kafka を読めません: {error}", f"Kafka cannot be read: {error}") from error


def topic_name(given: str) -> str:
    """A whole topic name, or a short one: `log`, `timeline`, `ocsf`, `device-lost`."""
    return LOG_TOPIC if given == "log" else given if "." in given else f"lostphone.{given}.v1"


def describe(reading: Reading) -> dict[str, Any]:
    """One record as `--json` prints it."""
    received = reading.received
    place = {"topic": received.topic, "partition": received.partition, "offset": received.offset}
    if not isinstance(reading, Event):
        key = received.key.decode(errors="replace") if received.key is not None else None
        return {"verified": False, "kind": reading.kind, "reason": reading.reason, "key": key, **place}
    envelope = reading.envelope
    return {
        "verified": True,
        "id": envelope.id,
        "type": envelope.type,
        "source": envelope.source,
        "subject": envelope.subject,
        "sequence": envelope.sequence,
        "time": envelope.time.isoformat(timespec="milliseconds"),
        "organisation": envelope.organisation,
        "actor": envelope.actor,
        "drill": envelope.drill,
        "causationid": envelope.causationid,
        "keyid": envelope.keyid,
        **place,
        "data": _json(reading.value),
    }


def _show_json(out: Console, received: Received, as_json: bool) -> None:
    if as_json:
        write_json({"topic": received.topic, "partition": received.partition, "offset": received.offset,
                    "data": _json(received.value or b"")})  # fmt: skip
    else:
        out.print((received.value or b"").decode(errors="replace"), markup=False)


def _json(value: bytes) -> Any:
    """None for what is not JSON."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _sources(data_dir: Path, bootstrap: str | None, keys: Path | None) -> tuple[dict[str, Any], KeyRing]:
    status = running.running(data_dir)
    if status is None and (bootstrap is None or keys is None) and "LOSTPHONE_KAFKA_BOOTSTRAP" not in os.environ:
        raise CouldNotError(
            "動作中の環境がありません。lostphone up で起動するか、--bootstrap と --keys を指定してください。",
            "No installation runs here. Start one with lostphone up, or give --bootstrap and --keys.",
        )
    if status is not None and bootstrap is None:
        connection = running_connection(status.kafka)
    else:
        connection = connection_from_environment(bootstrap)
    file = keys or Path(os.environ.get("LOSTPHONE_EVENT_KEYS_FILE") or data_dir / "event-keys.json")
    try:
        return connection, KeyRing(file)
    except (OSError, ValueError, KeyError) as error:
        raise CouldNotError(f"{file} を読めません。", f"{file} does not hold public keys of events.") from error


def _draw(out: Console, reading: Reading) -> None:
    if not isinstance(reading, Event):
        place = f"{reading.received.topic}/{reading.received.partition}@{reading.received.offset}"
        out.print(f"[bold red]✗ {reading.kind}[/] {reading.reason} {place}")
        return
    envelope = reading.envelope
    when = in_zone(envelope.time, None).strftime("%H:%M:%S.%f")[:-3]
    name = reading.entry.name if reading.entry is not None else envelope.type
    drill = f" [yellow]{Sentence('訓練', 'DRILL')}[/]" if envelope.drill else ""
    by = f"[dim]{foreign(envelope.actor)} · {foreign(envelope.organisation)}[/]"
    out.print(f"{when} [green]✓[/] [bold]{foreign(name)}[/]{drill} {envelope.subject} {by}")
