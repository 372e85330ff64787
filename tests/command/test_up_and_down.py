"""The whole installation as a user has it: up, a process killed, down, up again, with its data still there."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lostphone import addresses, running
from sandbox.companies import inventory
from tests.stack.ports import somebody_at

pytestmark = pytest.mark.timeout(600)


class Command:
    """The `lostphone` command on one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def __call__(self, *words: str, exits: int = 0) -> str:
        """Run it; what it wrote to standard output."""
        return self.run(*words, exits=exits).stdout

    def run(self, *words: str, exits: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "lostphone", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "LOSTPHONE_DATA": str(self.data_dir), "LOSTPHONE_LANG": "en"},
            timeout=400,
            check=False,
        )
        assert done.returncode == exits, f"{words} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def json(self, *words: str, exits: int = 0) -> Any:
        return json.loads(self(*words, "--json", exits=exits))


@dataclass(frozen=True)
class Begun:
    """An installation whose broker found a port taken when it was started first."""

    command: Command
    taken: int
    said: str


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    command = Command(tmp_path_factory.mktemp("installation") / "data")
    file = command.data_dir / "kafka" / "ports.json"
    try:
        with ThreadPoolExecutor(1) as pool:
            up = pool.submit(command.run, "up", "--detach")
            # The data folder is made before the broker binds.
            port: int = until(lambda: json.loads(file.read_text())["client"] if file.exists() else None)
            with somebody_at(port):
                said = up.result().stderr
        yield Begun(command, port, said)
    finally:
        running.stop(command.data_dir)


@pytest.fixture
def lostphone(begun: Begun) -> Command:
    return begun.command


def until[T](look: Callable[[], T | None], within: float = 60) -> T:
    deadline = time.monotonic() + within
    while (found := look()) is None:
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)
    return found


def test_a_port_that_is_taken_while_everything_starts_is_no_hindrance(begun: Begun) -> None:
    assert f"Another program took a port meanwhile (kafka client: {begun.taken})" in begun.said
    assert begun.command.json("status")["kafka"]["bootstrap"] != f"127.0.0.1:{begun.taken}"


def test_status_names_everything_that_a_tool_needs_to_join_in(lostphone: Command) -> None:
    status = lostphone.json("status")
    assert set(status) == {"data_dir", "kafka", "postgres", "http", "sandbox", "events", "log", "sources", "processes"}
    assert status["sources"] == {"kafka": "embedded", "postgres": "embedded"}
    services = {"reporter", "mdm_actions", "notifier", "audit"}
    assert set(status["postgres"]) == set(status["http"]) == services
    assert set(status["log"]) == {"url", "origin", "vkey", "bearer"}
    assert {key["service"] for key in status["events"]["keys"].values()} == services
    assert set(status["processes"]) == {"supervisor", "kafka", "postgres", "nanomdm", "sandbox", "witness", *services}
    assert all(process["pid"] for process in status["processes"].values())
    for service in services:
        assert httpx2.get(f"{status['http'][service]}/health/ready").status_code == 200


def test_up_twice_says_that_it_runs_already(lostphone: Command) -> None:
    before = lostphone.json("status")
    assert lostphone.json("up") == before


def test_each_service_is_told_its_own_secrets_only(lostphone: Command) -> None:
    if not Path("/proc/self/environ").exists():
        pytest.fail("this platform does not show the environment of a process")
    status = lostphone.json("status")
    told = {
        service: Path(f"/proc/{status['processes'][service]['pid']}/environ").read_text() for service in status["http"]
    }
    for service, environment in told.items():
        for other in {*told} - {service}:
            password = status["postgres"][other]["dsn"].split(":")[2].split("@")[0]
            assert password not in environment
            assert f"/keys/{other}/" not in environment
    assert "approvers.json" in told["mdm_actions"]
    assert not any("approvers.json" in told[service] for service in ("reporter", "notifier", "audit"))


def test_the_database_lets_nobody_in_without_a_password(lostphone: Command) -> None:
    dsn = lostphone.json("status")["postgres"]["reporter"]["dsn"]
    head, _, address = dsn.partition("@")
    for guess in (f"{head}wrong@{address}", f"postgresql://lostphone@{address}"):
        with pytest.raises(AssertionError):
            _query(guess)
    assert _query(dsn) == "1"


def _query(dsn: str) -> str:
    code = f"import asyncio, asyncpg; print(asyncio.run(asyncpg.connect({dsn!r})).is_closed() or 1)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    return done.stdout.strip()


def test_what_is_not_on_the_way_of_the_lock_yields_the_processor(lostphone: Command) -> None:
    processes = lostphone.json("status")["processes"]
    priorities = {name: os.getpriority(os.PRIO_PROCESS, process["pid"]) for name, process in processes.items()}
    first = priorities["supervisor"]
    yielding = {name for name, priority in priorities.items() if priority > first}
    assert yielding == {"notifier", "audit", "witness"}


def test_a_killed_service_comes_back_under_a_new_process_id(lostphone: Command) -> None:
    before = lostphone.json("status")["processes"]["reporter"]["pid"]
    os.kill(before, signal.SIGKILL)

    def again() -> int | None:
        now: int | None = lostphone.json("status")["processes"]["reporter"]["pid"]
        return now if now != before else None

    assert until(again)


def test_a_wipe_is_proposed_and_approved_on_two_machines_and_the_timeline_shows_it(
    lostphone: Command, tmp_path: Path
) -> None:
    file = tmp_path / "phones.csv"
    file.write_text(inventory("acme-kk"))
    assert len(lostphone.json("ops", "inventory", "import", str(file))["added"]) == 3
    lostphone("ops", "inventory", "import", str(file), "--apply")
    assert lostphone.json("ops", "inventory", "import", str(file))["added"] == []

    until(lambda: _inventory_is_known(lostphone))
    incident = lostphone.json(
        "report", "--phone", "ACME-0001", "--holder", "佐藤", "--callback", "080-0000-9999", "--who", "acme-suzuki"
    )["incident"]
    keys = lostphone.data_dir / "keys" / "people"
    sign = ("approve", incident, "--yes", "--key")
    lostphone(*sign, str(keys / "acme-mori.pem"), "--who", "acme-mori", exits=1)
    lostphone(*sign, str(keys / "acme-tanaka.pem"), "--who", "acme-tanaka", "--as", "propose")
    lostphone(*sign, str(keys / "acme-tanaka.pem"), "--who", "acme-tanaka", exits=1)
    assert lostphone.json(*sign, str(keys / "acme-mori.pem"), "--who", "acme-mori")["state"] == "requested"

    def suspended() -> list[str] | None:
        told = [entry["type"] for entry in lostphone.json("timeline", incident)["entries"]]
        return told if "lostphone.carrier-suspended.v1" in told else None

    told = until(suspended, 120)
    assert told.index("lostphone.wipe-confirmed.v1") < told.index("lostphone.carrier-suspended.v1")
    lostphone("timeline", incident, "--who", "beta-auditor", exits=1)
    lostphone("verify")


def _inventory_is_known(lostphone: Command) -> bool | None:
    """Whether the reporter has handled every phone of the import; its own metrics say so."""
    metrics = httpx2.get(f"{lostphone.json('status')['http']['reporter']}/metrics", timeout=10).text
    handled = re.search(r'events_processed_total{type="lostphone\.device-registered\.v1"} ([0-9.]+)', metrics)
    return True if handled is not None and float(handled[1]) >= 3 else None


def test_a_stranger_cannot_read_a_timeline(lostphone: Command) -> None:
    lostphone("timeline", "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f", "--token", "nobody", exits=2)


def test_evidence_of_an_incident_that_the_log_does_not_know_says_so_beside_the_bundle(
    lostphone: Command, tmp_path: Path
) -> None:
    unknown, file = "0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f", tmp_path / "evidence.zip"
    done = lostphone.run("ops", "evidence", unknown, "--out", str(file), "--json", exits=1)
    assert f"does not know the incident {unknown}" in done.stderr
    assert json.loads(done.stdout)["entries"] == 0
    lostphone("verify", str(file), "--policy", str(lostphone.data_dir / "log-policy.txt"))


def test_what_a_service_refuses_is_told_in_the_language_of_the_command(lostphone: Command) -> None:
    assert "Almost done" in lostphone.run("report", "--who", "acme-suzuki", exits=1).stderr
    assert "--emergency needs --organisation" in lostphone.run("report", "--emergency", exits=2).stderr


def test_topics_are_as_the_manifest_says(lostphone: Command) -> None:
    assert {topic["state"] for topic in lostphone.json("ops", "topics", "list")} == {"unchanged"}
    assert lostphone.json("ops", "dead-letters", "list") == []


def test_data_and_addresses_survive_down_and_up(lostphone: Command) -> None:
    before = lostphone.json("status")
    events = len(lostphone("tail", "--until-end", "--json").splitlines())
    assert lostphone.json("down")["stopped"] is True
    assert lostphone.json("down")["stopped"] is False
    lostphone("status", exits=2)
    after = lostphone.json("up", "--detach")
    for part in ("kafka", "postgres", "http", "sandbox", "events"):
        assert after[part] == before[part]
    assert after["log"]["vkey"] == before["log"]["vkey"]
    assert len(lostphone("tail", "--until-end", "--json").splitlines()) >= events
    lostphone("verify")


def test_what_a_killed_supervisor_left_behind_gives_way_to_up(lostphone: Command) -> None:
    before = _kill_supervisor(lostphone)
    after = lostphone.json("up", "--detach")
    for part in ("kafka", "postgres", "http", "sandbox"):
        assert after[part] == before[part]
    _assert_ended(before["processes"])


def test_what_a_killed_supervisor_left_behind_is_ended_by_down(lostphone: Command) -> None:
    before = _kill_supervisor(lostphone)
    assert lostphone.json("down")["stopped"] is True
    _assert_ended(before["processes"])


def _kill_supervisor(lostphone: Command) -> Any:
    """The status before."""
    status = lostphone.json("status")
    os.kill(status["processes"]["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: True if running.supervisor_pid(lostphone.data_dir) is None else None)
    return status


def _assert_ended(processes: dict[str, dict[str, int]]) -> None:
    for name, process in processes.items():
        assert not _lives(process["pid"]), f"{name} still runs"


def _lives(pid: int) -> bool:
    """A process that has ended but that nobody has asked for yet does not live."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()[:1] not in ("", "Z")


def test_a_port_that_was_taken_while_nothing_ran_is_told_with_the_one_in_its_place(lostphone: Command) -> None:
    lostphone("down")
    before = addresses.kept(lostphone.data_dir)
    with somebody_at(before["reporter"]):
        said = lostphone.run("up", "--detach").stderr
    after = addresses.kept(lostphone.data_dir)
    assert {name for name in before if before[name] != after[name]} == {"reporter"}
    assert f"reporter: another program has port {before['reporter']}; it is port {after['reporter']}" in said
    assert str(after["reporter"]) in lostphone.json("status")["http"]["reporter"]


def _import(lostphone: Command, folder: Path) -> None:
    """So that the log has events, whichever test came before."""
    file = folder / "phones.csv"
    file.write_text(inventory("acme-kk"))
    lostphone("ops", "inventory", "import", str(file), "--apply")


def _events(lostphone: Command) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lostphone("tail", "--until-end", "--json").splitlines()]


def _all_recorded(lostphone: Command) -> int | None:
    """How many events the log has, once the newest checkpoint covers as many as Kafka has, and any."""
    verified = lostphone.json("verify")
    recorded = verified["kinds"].get("event", 0) if verified["outcome"] == "proved" else 0
    return recorded if recorded >= max(len(_events(lostphone)), 1) else None


def _incidents(lostphone: Command) -> set[str]:
    return {event["subject"] for event in _events(lostphone) if event["type"] == "lostphone.device-lost.v1"}


def _timeline(lostphone: Command, incident: str) -> list[tuple[int, str, str]]:
    entries = lostphone.json("timeline", incident)["entries"]
    return [(entry["n"], entry["type"], entry["said_at"]) for entry in entries]


def test_a_log_that_is_closed_is_followed_by_another_that_goes_on_from_it(lostphone: Command, tmp_path: Path) -> None:
    before = lostphone.json("up", "--detach")["log"]
    _import(lostphone, tmp_path)
    events = until(lambda: _all_recorded(lostphone))
    timelines = {incident: _timeline(lostphone, incident) for incident in _incidents(lostphone)}
    lostphone("verify", "--save", str(tmp_path / "copy"))
    lostphone("ops", "close-log", exits=1)
    lostphone("down")
    last = tmp_path / "last"
    last.write_bytes((lostphone.data_dir / "log" / "checkpoint").read_bytes())

    done = lostphone.json("ops", "close-log")
    assert lostphone.json("ops", "close-log") == done
    assert (done["closed"], done["origin"]) == (before["origin"], f"{before['origin']}-2")

    after = lostphone.json("up", "--detach")["log"]
    assert (after["origin"], after["url"]) == (done["origin"], before["url"])
    assert until(lambda: _all_recorded(lostphone)) >= events
    for incident, timeline in timelines.items():
        assert _timeline(lostphone, incident)[: len(timeline)] == timeline
    said = lostphone.json("verify", "--vkey", after["vkey"], "--vkey", before["vkey"], "--earlier", str(last))
    assert (said["outcome"], said["origin"]) == ("proved", after["origin"])
    assert lostphone.json("verify", str(tmp_path / "copy"), "--vkey", before["vkey"])["origin"] == before["origin"]
    assert "witness.example" in httpx2.get(f"{after['url']}/checkpoint").text
    policy = httpx2.get(f"{after['url']}/v1/policy").text
    assert before["vkey"] in policy
    assert f"{after['vkey']} {after['url']}" in policy


def test_a_backup_from_before_a_log_was_closed_comes_back_with_the_log_that_goes_on(
    lostphone: Command, tmp_path: Path
) -> None:
    before = lostphone.json("up", "--detach")["log"]
    _import(lostphone, tmp_path)
    until(lambda: _all_recorded(lostphone))
    lostphone("ops", "backup", str(tmp_path / "backup"))
    lostphone("down")
    closed = (lostphone.data_dir / "log" / "checkpoint").read_bytes()
    lostphone("ops", "close-log")
    after = lostphone.json("up", "--detach")["log"]
    events = until(lambda: _all_recorded(lostphone))
    lostphone("down")
    published = (lostphone.data_dir / "log" / "checkpoint").read_bytes()
    notes = [tmp_path / "closed", tmp_path / "published"]
    for file, note in zip(notes, (closed, published), strict=True):
        file.write_bytes(note)

    lostphone("ops", "restore", str(tmp_path / "backup"), "--replace")
    assert lostphone.json("up", "--detach")["log"]["vkey"] == after["vkey"]
    assert until(lambda: _all_recorded(lostphone)) >= events
    keys = ("--vkey", after["vkey"], "--vkey", before["vkey"])
    lostphone("verify", *keys, *(word for file in notes for word in ("--earlier", str(file))))
