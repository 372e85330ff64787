"""`ops backup` and `ops restore`."""

import asyncio
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import asyncpg
import typer

from lostphone import backup as made
from lostphone import running, unfinished_restore
from lostphone.commands.options import AsJson, DataDir
from lostphone.database import DATABASE, ForeignDatabaseError
from lostphone.embedded import EmbeddedError
from lostphone.installation import Installation
from lostphone.kafka_access import connection_from_environment, running_connection
from lostphone.named import Named
from lostphone.screen import CouldNotError, SaidNoError, Sentence, progress, result, what
from lostphone.sources import VARIABLES, Source
from lostphone.status import INSTALLATION, Status, data_directory
from lostphone.topics import BrokerError

_FAILURES: Final = (
    made.ProgramError,
    BrokerError,
    EmbeddedError,
    ForeignDatabaseError,
    OSError,
    OverflowError,  # of a port in a DSN
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)

Postgres = Annotated[
    str | None,
    typer.Option(
        envvar="LOSTPHONE_SUPERUSER_DSN",
        help="スーパーユーザーの DSN · Superuser's DSN of the database; default the installation here.",
        show_default=False,
    ),
]
EventKeys = Annotated[
    Path | None, typer.Option(envvar="LOSTPHONE_EVENT_KEYS_FILE", help="イベントの公開鍵 · Public keys of the events.")
]


def backup(
    *,
    file: Annotated[Path, typer.Argument(help="作るファイル · The file to make.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", help="鍵を別のファイルに残す · Keep the keys too, in a file of their own.")
    ] = None,
    without_log: Annotated[
        bool, typer.Option("--without-log", help="ログを含めない · Leave the log to Kafka's own replication.")
    ] = False,
    postgres: Postgres = None,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka のアドレス · Broker.")] = None,
    event_keys: EventKeys = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """動かしたままバックアップする(鍵は含まない)· Back up databases and log while all runs; keys are kept apart."""
    directory = data_directory(data_dir)
    status = None if postgres else running.required(directory)
    kafka = running_connection(status.kafka) if status and not bootstrap else connection_from_environment(bootstrap)
    if "bootstrap.servers" not in kafka and not without_log:
        raise CouldNotError(
            "--bootstrap を指定するか --without-log を付けてください。", "Give --bootstrap or --without-log."
        )
    if status is not None:
        postgres = _superuser(status, directory)
    source = made.Source(postgres or "", event_keys or directory / "event-keys.json", None if without_log else kafka)
    try:
        made.must_be_new(*filter(None, (file, keys)))
        manifest = made.make(source, file)
        if keys is not None:
            made.keep_keys(directory, keys)
    except made.BackupError as error:
        raise SaidNoError(f"バックアップできません: {error}", f"No backup: {error}") from error
    except _FAILURES as error:
        raise CouldNotError(f"バックアップできません: {what(error)}", f"No backup: {what(error)}") from error
    said = {"file": str(file), "keys": str(keys) if keys else None, **manifest}
    result(said, as_json, lambda out: out.print(str(_made(manifest)), markup=False))
    if keys is None:
        progress(
            "鍵は含まれません。なければ個人データは読めず、続きの署名もできません。--keys で別の場所に残してください。",
            "It holds no keys. Without them nobody reads a person's data in it, and the timeline cannot be signed on: "
            "keep them in another place with --keys.",
        )


def _superuser(status: Status, directory: Path) -> str:
    """The DSN of the superuser of the database that the running installation has. Raises `CouldNotError`."""
    if status.sources.get("postgres") is not Source.ENVIRONMENT:
        address = urlsplit(status.postgres["audit"].dsn).netloc.rpartition("@")[2]
        return f"postgresql://lostphone:{Installation.read(directory).passwords['postgres']}@{address}/{DATABASE}"
    if (named := Named.by().postgres) is None:
        raise CouldNotError(
            f"この環境のデータベースは {VARIABLES['postgres', False]} で指定されたものです。もう一度指定してください。",
            f"The database of this installation is the one that {VARIABLES['postgres', False]} named. Name it again.",
        )
    return named.superuser_dsn(DATABASE)


def restore(
    *,
    file: Annotated[Path, typer.Argument(help="バックアップ · The backup.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", help="鍵のファイル(新しい場所へ戻すとき)· The keys, for a new place.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="今あるデータベースを捨てる · Give up what the database holds now.")
    ] = False,
    copy: Annotated[
        Path | None,
        typer.Option(
            "--copy", help="ログの写し · A copy of the log (verify --save), where the timeline's topic is lost."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """止めた環境へ戻す · Restore into an installation that does not run; then start it with `up`."""
    from lostphone.commands.restoring import restore_embedded  # noqa: PLC0415 - the whole stack; others need not wait

    directory = data_directory(data_dir)
    running.require_down(directory)
    try:
        made.read_manifest(file)
        with running.hold(directory):
            if keys is not None and not unfinished_restore.is_marked(directory):
                _unpack_keys(keys, directory)
            restored = asyncio.run(restore_embedded(directory, file, replace=replace, copy=copy))
    except running.AlreadyRunningError as error:
        raise SaidNoError(
            f"{directory} では別のコマンドが動いています。", f"Another command is at work in {directory}."
        ) from error
    except made.BackupError as error:
        raise SaidNoError(f"復元できません: {error}", f"Not restored: {error}") from error
    except _FAILURES as error:
        raise CouldNotError(f"復元できません: {what(error)}", f"Not restored: {what(error)}") from error
    said: dict[str, Any] = asdict(restored)
    result(said, as_json, lambda out: out.print(str(_restored(said)), markup=False))
    for place, reason in restored.refused.items():
        progress(
            f"{place}: 誰にも開けなかった束で、ブローカーが受け取りません({reason})。記録はタイムラインにあります。",
            f"{place}: a batch that nobody had unpacked, which the broker does not take ({reason}). Its offsets are "
            "empty; the timeline keeps what it recorded of it.",
        )
    for subject, services in restored.forgotten.items():
        for sentence in _forgotten(subject, services):
            progress(sentence.ja, sentence.en)


def _forgotten(subject: str, services: Mapping[str, Sequence[str]]) -> Iterator[Sentence]:
    """What comes back of a subject by itself, and what people have to know before they have it done again."""
    if "reporter" in services:
        yield Sentence(
            f"{subject}: 起動すると記録から戻ります。入力された言葉は失われました。本人にもう一度聞いてください。",
            f"{subject}: comes back from the log at the start; people's words are lost, the desk has to ask again.",
        )
    for service, said in services.items():
        if service == "reporter":
            continue
        names = ", ".join(dict.fromkeys(said))
        yield Sentence(
            f"{subject}: {service} は次のことをもう覚えていません: {names}。やり直す前にタイムラインを見てください。",
            f"{subject}: {service} does not know any more of {names}; see the timeline before it is done again.",
        )


def _unpack_keys(keys: Path, directory: Path) -> None:
    """Into a place that holds no installation yet; it is one when all is there."""
    if (directory / INSTALLATION).exists():
        raise made.BackupError(f"{directory} has keys of its own; restore into an empty place, or without --keys")
    try:
        with tarfile.open(keys) as packed, tempfile.TemporaryDirectory(dir=directory, prefix=".keys-") as place:
            names = {member.name.partition("/")[0] for member in packed.getmembers()}
            if not names <= set(made.KEY_PATHS) or INSTALLATION not in names:
                raise made.BackupError(f"{keys} does not hold an installation's keys")
            packed.extractall(place, filter="data")
            for name in sorted(names, key=lambda name: name == INSTALLATION):
                _move(Path(place) / name, directory / name)
    except (tarfile.TarError, EOFError) as error:
        raise made.BackupError(f"{keys} cannot be read: {error}") from error


def _move(source: Path, place: Path) -> None:
    """Also over what an interrupted restore left."""
    if place.is_dir():
        shutil.rmtree(place)
    source.replace(place)


def _made(manifest: dict[str, Any]) -> Sentence:
    records, entries = sum(manifest["records"].values()), manifest["timeline"]["size"]
    size = sum(part["bytes"] for part in manifest["files"].values()) / 1_000_000
    return Sentence(
        f"{manifest['at']} の状態を保存しました(ログ {records} 件、タイムライン {entries} 件、{size:.1f} MB)。",
        f"Kept as of {manifest['at']}: {records} records of the log, {entries} timeline entries, {size:.1f} MB.",
    )


def _restored(said: dict[str, Any]) -> Sentence:
    if said["log"] == "written":
        return Sentence(
            f"{said['at']} の状態に戻し、ログ {said['records']} 件を書きました。lostphone up で起動します。",
            f"As of {said['at']}, with {said['records']} records of the log written. Start it with lostphone up.",
        )
    return Sentence(
        f"{said['at']} の状態に戻しました。ログはその後 {said['ahead']} 件進んでいます。lostphone up で追いつきます。",
        f"As of {said['at']}. The log has gone on by {said['ahead']} events since; lostphone up catches up.",
    )
