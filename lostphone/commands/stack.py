"""`up`, `down` and `status`: the installation on this machine."""

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lostphone import running
from lostphone.commands.options import AsJson, DataDir
from lostphone.screen import CouldNotError, Sentence, progress, result
from lostphone.sources import VARIABLES, Part, Source
from lostphone.status import Status, data_directory

if TYPE_CHECKING:
    from lostphone.named import Named

# Traces of an installation on this machine go where whoever starts it looks at them, and whoever tries a SIEM on it
# says what that SIEM understands.
_KEPT_VARIABLES = {
    "LOSTPHONE_LANG",
    "LOSTPHONE_TOOLS",
    "LOSTPHONE_MAVEN_REPOSITORY",
    "LOSTPHONE_OTLP_ENDPOINT",
    "LOSTPHONE_OCSF_VERSION",
}


def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", help="起動したら戻る · Return once everything runs.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="前のデータを消して始める · Remove earlier data first.")
    ] = False,
    secure: Annotated[
        bool,
        typer.Option("--secure", help="Kafka に TLS・認証・許可を · Guard a new broker: TLS, names and ACLs."),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """すべてを起動する · Start Kafka, PostgreSQL, NanoMDM, the sandbox and the services, and keep them alive."""
    directory = data_directory(data_dir)
    if fresh:
        running.require_down(directory)
    if (pid := running.supervisor_pid(directory)) is not None:
        _already(directory, pid, as_json)
    elif detach:
        found, _ = running.start_detached(directory, lambda line: progress(line, line), fresh=fresh, secure=secure)
        _show(found, as_json)
    else:
        _supervise(directory, fresh, secure, as_json)


def down(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """止める(データは残る)· End everything in order; data stays."""
    directory = data_directory(data_dir)
    stopped = running.stop(directory)
    said = Sentence("止めました。", "Stopped.") if stopped else Sentence("何も動いていません。", "Nothing was running.")
    result({"stopped": stopped, "data_dir": str(directory)}, as_json, lambda out: out.print(str(said)))


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """何がどこで動いているか · What runs, and where."""
    _show(running.required(data_directory(data_dir)), as_json)


def _already(directory: Path, pid: int, as_json: bool) -> None:
    progress(
        f"すでに動いています(プロセス {pid}、{directory})。", f"It is already running (process {pid}, {directory})."
    )
    found = running.await_ready(directory)
    if found is None:
        raise CouldNotError("起動する前に終了しました。", "It ended before it was ready.")
    _show(found, as_json)


def _supervise(directory: Path, fresh: bool, secure: bool, as_json: bool) -> None:
    """Be the supervisor until SIGINT or SIGTERM."""
    from lostphone.named import Named  # noqa: PLC0415 - as the whole stack, below

    named = Named.by()
    # What the services get is chosen for each; settings of this shell must not reach them.
    for name in [name for name in os.environ if name.startswith("LOSTPHONE_") and name not in _KEPT_VARIABLES]:
        del os.environ[name]
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if fresh:
        running.erase(directory)
    try:
        with running.hold(directory):
            _run(directory, named, stop, secure, as_json)
    except running.AlreadyRunningError as error:
        _already(directory, error.pid or 0, as_json)


def _run(directory: Path, named: "Named", stop: threading.Event, secure: bool, as_json: bool) -> None:
    from lostphone import lifetime  # noqa: PLC0415 - half a second that the other commands need not wait

    def ready() -> None:
        if (found := running.running(directory)) is not None:
            _show(found, as_json)

    progress(f"データの場所: {directory}", f"Data: {directory}")
    lifetime.run(directory, named, progress, ready, stop, secure=secure)


def _show(found: Status, as_json: bool) -> None:
    result(found.public(), as_json, lambda out: _draw(out, found))


def _draw(out: Console, found: Status) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, url in found.http.items():
        table.add_row(name, url, _pid(found, name))
    table.add_row("kafka", found.kafka.bootstrap, _whose(found, "kafka"))
    table.add_row("postgres", found.postgres["reporter"].dsn.rpartition("@")[2], _whose(found, "postgres"))
    for name, url in found.sandbox.items():
        table.add_row(f"sandbox {name}", url, _pid(found, name if name in found.processes else "sandbox"))
    table.add_row("data", found.data_dir, "")
    out.print(table)


def _whose(found: Status, name: Part) -> str:
    """The process of a part of its own; that it is somebody else's, when the environment named it."""
    if found.sources.get(name) is Source.ENVIRONMENT:
        return str(Sentence(f"{VARIABLES[name, False]} の指定", f"named by {VARIABLES[name, False]}"))
    return _pid(found, name)


def _pid(found: Status, name: str) -> str:
    process = found.processes.get(name)
    return "" if process is None else f"pid {process.pid}" if process.pid else str(Sentence("再起動待ち", "restarting"))
