"""The command: finds or starts an installation, plays the story, proves the timeline, says where to look."""

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lostphone import running
from lostphone.commands.options import AsJson, DataDir
from lostphone.demo import cast
from lostphone.demo.cast import Cast
from lostphone.demo.keepsakes import claim, keep
from lostphone.demo.screen import Fact, Screen, clock
from lostphone.demo.story import Story, Told
from lostphone.demo.watch import Watch
from lostphone.installation import Installation
from lostphone.kafka_access import SASL_SSL, running_connection
from lostphone.screen import CouldNotError, SaidNoError, Sentence, progress
from lostphone.status import Status, data_directory
from shared.events import KeyRing

_FOLDER = Path("build/demo")
_SEAL_WITHIN = 30.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    *,
    folder: Annotated[Path, typer.Option(help="残すものの置き場 · Where what it leaves goes.")] = _FOLDER,
    secure: Annotated[
        bool,
        typer.Option("--secure", help="TLS・認証・許可のある Kafka で · On a guarded broker: TLS, names and ACLs."),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """物語を最初から最後まで見る · Watch the whole story, from a lost phone to the verified timeline."""
    began = time.monotonic()
    directory = data_directory(data_dir)
    claim(folder)
    status, ours = running.await_ready(directory), False
    if status is None:
        progress("環境を起動しています…", "Starting an installation for the demo …")
        status, ours = running.start_detached(directory, lambda line: progress(line, line), secure=secure)
    elif secure and status.kafka.security_protocol != SASL_SSL:
        raise SaidNoError(
            f"{directory} で動いている Kafka は --secure なしで作られています。別の --data-dir を指定してください。",
            f"The broker that runs in {directory} was made without --secure. Name another --data-dir.",
        )
    try:
        play(status, directory, folder, as_json=as_json, began=began)
    finally:
        if ours:
            progress("止めています…", "Stopping …")
            running.stop(directory)


def play(
    status: Status, directory: Path, folder: Path, *, as_json: bool, began: float, console: Console | None = None
) -> Told:
    """The whole evening in a running installation, with its proof and what it leaves behind in `folder`."""
    troupe = Cast(status, Installation.read(directory))
    screen = Screen(as_json=as_json, names=troupe.names(), console=console)
    with Watch(running_connection(status.kafka), KeyRing(troupe.installation.event_keys_file), screen.event) as watch:
        told = Story(troupe, watch, screen).play()
        screen.chapter("10. 証明", "10. The proof")
        _until_sealed(troupe, told, screen)
        kept = keep(folder, troupe, told)
        _verify(status, folder / "evidence", troupe, screen)
    _times(screen, watch, told, time.monotonic() - began)
    places = [Fact(name, str(path), name, str(path)) for name, path in [*kept, ("evidence", folder / "evidence")]]
    screen.table(Sentence("見る場所", "Where to look"), places, "where")
    return told


def _until_sealed(troupe: Cast, told: Told, screen: Screen) -> None:
    """Until the seal stands in a signed checkpoint."""
    auditor = troupe.to("audit", cast.AUDITOR)
    deadline = time.monotonic() + _SEAL_WITHIN
    with screen.waiting("封印を待っています…", "Waiting for the seal …"):
        while not auditor.get(f"/v1/incidents/{told.incident}/timeline")["sealed"]:
            if time.monotonic() > deadline:
                raise CouldNotError("記録が封印されませんでした。", "The timeline was not sealed in time.")
            time.sleep(0.2)
    screen.say("終結とともに、記録は封印されました。", "With the end of the case its timeline is sealed.")


def _verify(status: Status, evidence: Path, troupe: Cast, screen: Screen) -> None:
    """Prove the timeline as an outsider would, with the log's verifier key and an auditor's token; all that was read
    is kept as evidence."""
    evidence.mkdir()
    command = [
        sys.executable, "-m", "lostphone", "verify", status.log.url, "--vkey", status.log.vkey,
        "--token", status.log.bearer, "--event-keys", str(troupe.installation.event_keys_file),
        "--save", str(evidence / "log"), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 1:
        raise SaidNoError(f"証明できません: {done.stdout}", f"Not proved: {done.stdout}")
    if done.returncode != 0:
        raise CouldNotError(f"検証できません: {done.stderr}", f"Could not verify: {done.stderr}")
    screen.say(
        "記録のすべてを計算し直し、署名と一致しました。",
        "Every entry was hashed again and matches the signed checkpoint.",
    )
    (evidence / "verify.json").write_text(done.stdout)
    (evidence / "vkey.txt").write_text(f"{status.log.vkey}\n")


def _times(screen: Screen, watch: Watch, told: Told, seconds: float) -> None:
    """The times that matter."""
    moments: list[tuple[str, Sentence, datetime | None]] = [
        ("noticed", Sentence("気づいた", "noticed"), told.noticed_at),
        ("reported", Sentence("届け出た", "reported"), _time(watch, "DeviceLost", "reported_at")),
        ("locked", Sentence("ロックされた", "locked"), _time(watch, "DeviceLocked", "acknowledged_at")),
        ("wiped", Sentence("消去された", "wiped"), _time(watch, "WipeConfirmed", "confirmed_at")),
        ("line_stopped", Sentence("回線が止まった", "line stopped"), _time(watch, "CarrierSuspended", "effective_at")),
        ("told", Sentence("本人に知らせた", "told"), _time(watch, "NoticesSettled", "settled_at")),
    ]
    facts: list[Fact] = []
    before: datetime | None = None
    for key, name, moment in moments:
        if moment is None:
            continue
        step = f"  (+{(moment - before).total_seconds():.1f} s)" if before is not None else ""
        shown = f"{moment.astimezone():%H:%M:%S}{step}"
        facts.append(Fact(key, moment.isoformat(timespec="milliseconds"), name, shown))
        before = moment
    facts.append(Fact("seconds", round(seconds, 1), Sentence("この実演", "this demo"), f"{seconds:.0f} s"))
    screen.table(Sentence("大事な時刻", "The times that matter"), facts, "times")


def _time(watch: Watch, name: str, field: str) -> datetime | None:
    event: Any = next(iter(watch.all(name)), None)
    return clock(event[field]) if event else None
