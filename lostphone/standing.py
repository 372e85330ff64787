"""What is late, stuck, parked or paused in an installation, and what to do about it: `lostphone ops status`.

Read-only: each service's tables as its own role, its readiness over HTTP, and the broker as the operator.
"""

import asyncio
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import asyncpg
import orjson
import yaml
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from lostphone.status import Status
from shared.events import LOG_TOPIC
from shared.events.contracts import REDRIVABLE
from shared.telemetry.health import PROVIDER

OUTBOX_LATE_SECONDS = 30.0
LAG_LATE_SECONDS = 60.0
TIMER_LATE_SECONDS = 60.0
LOG_LATE_SECONDS = 10.0
"""Checkpoints and feeds move every second while they have something to do."""
ROOM_BYTES = 64 * 1024 * 1024
"""With less of it left on the disk, Kafka ends and PostgreSQL refuses: each lays out a few files of 16 MB ahead."""
_ANSWER_SECONDS = 5.0

_KIT = """
SELECT (SELECT count(*) FROM outbox) AS outbox,
    (SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM outbox) AS outbox_age,
    (SELECT count(*) FROM timer WHERE due_at < now()) AS timers_due,
    (SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0)::float8 FROM timer WHERE due_at < now())
        AS timers_late,
    (SELECT count(*) FROM timer WHERE attempt > 3) AS timers_failing,
    (SELECT count(*) FROM parked WHERE settled_at IS NULL) AS parked
"""
_DELETED_UNREAD = """
SELECT topic, partition, first_offset AS first, next_offset - 1 AS last, next_offset - first_offset AS count
FROM deleted_unread WHERE acknowledged_at IS NULL ORDER BY topic, partition, first_offset
"""
_POSITIONS = "SELECT partition, next_offset FROM position WHERE topic = $1"
_ARMED = """
SELECT incident AS subject, organisation, state, extract(epoch FROM now() - ordered_at)::float8 AS age
FROM command WHERE kind = 'wipe' AND NOT drill
AND state IN ('requested', 'queued', 'deferred') ORDER BY ordered_at
"""
_BREAKERS = """
SELECT 'org-' || organisation AS subject, organisation, reason, extract(epoch FROM now() - opened_at)::float8 AS age
FROM breaker WHERE opened_at IS NOT NULL AND NOT drill
"""
_TASKS = """
SELECT task AS subject, organisation, kind, extract(epoch FROM now() - opened_at)::float8 AS age,
    due_at < now() AS overdue
FROM task WHERE state IN ('open', 'done') ORDER BY due_at
"""
# No event tells of these. Until something else was ordered of the line or phone, and for a week: it may have been done
# in the vendor's console, which nobody tells us.
_NOT_LET_GO = """
SELECT subject, organisation, kind, reason, age FROM (
    SELECT DISTINCT ON (coalesce(line, device)) incident AS subject, organisation, kind, state, ended_at,
        coalesce(reason, state) AS reason, extract(epoch FROM now() - ended_at)::float8 AS age
    FROM command WHERE NOT drill AND kind IN ('suspend_line', 'resume_line', 'lost_mode', 'unlock', 'wipe')
    ORDER BY coalesce(line, device), place DESC
) AS newest
WHERE kind IN ('resume_line', 'unlock') AND state IN ('failed', 'expired') AND ended_at > now() - interval '7 days'
ORDER BY age DESC
"""
_TO_READ_AGAIN = "SELECT count(*) FROM said_after_backup"
_DUTIES = """
SELECT duty AS subject, organisation, incident FROM duty WHERE state = 'open' AND overdue ORDER BY duty
"""
# Until the duty towards the people is ended; where none is owed, until the case is.
_UNCERTAIN = """
SELECT batch.incident AS subject, batch.organisation, count(*) AS count
FROM notice JOIN batch USING (batch) JOIN incident USING (incident)
WHERE notice.state = 'uncertain' AND NOT drill AND coalesce(
    (SELECT bool_or(duty.state = 'open') FROM duty
     WHERE duty.incident = batch.incident AND opened->>'recipient' = 'principal'),
    facts->>'state' IN ('open', 'recovered'))
GROUP BY batch.incident, batch.organisation ORDER BY min(batch.started_at)
"""
_LOG = """
SELECT (SELECT size FROM log_state) AS size, (SELECT next_seq FROM feed WHERE name = 'outward') AS fed,
    (SELECT coalesce(max(size), 0) FROM checkpoint) AS signed,
    (SELECT extract(epoch FROM now() - max(signed_at))::float8 FROM checkpoint) AS age
"""

ADVICE: Mapping[str, Mapping[str, str]] = yaml.safe_load(Path(__file__).with_name("advice.yaml").read_text("utf-8"))

type Level = Literal["person", "watch"]
"""`person`: somebody has to act. `watch`: it goes on by itself, or is as it should be and worth seeing."""


@dataclass(frozen=True)
class Finding:
    """One thing worth a look. `what` is a key of `advice.yaml`; `facts` fill its sentence."""

    what: str
    level: Level
    service: str
    facts: Mapping[str, Any]

    def public(self) -> dict[str, Any]:
        """As `--json` prints it, with the advice in both languages."""
        ja, en = self.sentences()
        return {**asdict(self), "ja": ja, "en": en}

    def sentences(self) -> tuple[str, str]:
        """What is so and what to do, in Japanese and in English."""
        facts = {"service": self.service, **self.facts}
        advice = ADVICE[self.what]
        return advice["ja"].format_map(facts), advice["en"].format_map(facts)


@dataclass(frozen=True)
class Standing:
    """Figures of every service, and what of it is worth a look."""

    services: Mapping[str, Mapping[str, Any]]
    findings: tuple[Finding, ...]

    @property
    def needs_person(self) -> bool:
        return any(finding.level == "person" for finding in self.findings)

    def public(self) -> dict[str, Any]:
        """As `--json` prints it."""
        findings = [finding.public() for finding in self.findings]
        return {"needs_person": self.needs_person, "findings": findings, "services": self.services}


async def look(status: Status, kafka: Mapping[str, Any]) -> Standing:
    """Ask everything once. What cannot be asked is a finding, never an error."""
    findings = [
        Finding("process_restarting", "person", name, {})
        for name, process in status.processes.items()
        if process.pid is None
    ]
    findings += without_room(Path(status.data_dir))
    ends = await asyncio.to_thread(_ends, kafka)
    if isinstance(ends, str):
        findings.append(Finding("kafka_away", "person", "kafka", {"reason": ends}))
    services: dict[str, Mapping[str, Any]] = {}
    for name, url in status.http.items():
        checks = await asyncio.to_thread(_readiness, url)
        findings += _unready(name, checks)
        figures: dict[str, Any] = {"ready": not any(checks.values()), "checks": checks}
        try:
            figures |= await _figures(name, status.postgres[name].dsn, findings)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            findings.append(Finding("database_away", "person", name, {"reason": type(error).__name__}))
        if isinstance(ends, dict) and "positions" in figures:
            figures |= await asyncio.to_thread(lag, kafka, figures["positions"], ends)
        figures.pop("positions", None)
        findings += _late(name, figures)
        services[name] = figures
    return Standing(services, tuple(sorted(findings, key=lambda finding: finding.level)))


async def _figures(name: str, dsn: str, findings: list[Finding]) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn, timeout=_ANSWER_SECONDS, server_settings={"search_path": name})
    try:
        figures: dict[str, Any] = dict((await connection.fetch(_KIT))[0])
        rows = await connection.fetch(_POSITIONS, LOG_TOPIC)
        figures["positions"] = {row["partition"]: row["next_offset"] for row in rows}
        findings += [
            Finding("deleted_unread", "person", name, dict(row)) for row in await connection.fetch(_DELETED_UNREAD)
        ]
        if name == "mdm_actions":
            findings += [Finding("wipe_armed", "watch", name, _facts(row)) for row in await connection.fetch(_ARMED)]
            findings += [
                Finding("breaker_open", "person", name, _facts(row)) for row in await connection.fetch(_BREAKERS)
            ]
            findings += [Finding(*_of_task(row), name, _facts(row)) for row in await connection.fetch(_TASKS)]
            findings += [
                Finding("not_let_go", "person", name, _facts(row)) for row in await connection.fetch(_NOT_LET_GO)
            ]
        elif name == "notifier":
            findings += [
                Finding("duty_overdue", "person", name, _facts(row)) for row in await connection.fetch(_DUTIES)
            ]
            findings += [
                Finding("notices_uncertain", "person", name, _facts(row)) for row in await connection.fetch(_UNCERTAIN)
            ]
        elif name == "reporter":
            figures["to_read_again"] = await connection.fetchval(_TO_READ_AGAIN)
        elif name == "audit":
            figures["log"] = await _log(connection)
    finally:
        await connection.close()
    return figures


async def _log(connection: asyncpg.Connection) -> dict[str, Any]:
    """How far the timeline is, and of what it had at first how much is `unsigned` or `unfed`, and does not move."""
    first = (await connection.fetch(_LOG))[0]
    now, deadline = first, time.monotonic() + LOG_LATE_SECONDS
    while waiting := [done for done in ("signed", "fed") if first[done] == now[done] < first["size"]]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.5)
        now = (await connection.fetch(_LOG))[0]
    late = {done: first["size"] - now[done] for done in waiting}
    return {**now, "unsigned": late.get("signed", 0), "unfed": late.get("fed", 0)}


def _facts(row: asyncpg.Record) -> dict[str, Any]:
    facts = dict(row)
    if "age" in facts:
        facts["minutes"] = round(facts.pop("age") / 60)
    return facts


def _of_task(row: asyncpg.Record) -> tuple[str, Level]:
    return ("task_overdue" if row["overdue"] else "task_waiting"), "person"


def without_room(folder: Path) -> Iterator[Finding]:
    """Whether the disk of the installation is full, or has no place for another file."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return  # that of another machine
    left = disk.f_bavail * disk.f_frsize
    # Some file systems do not count files.
    if left < ROOM_BYTES or disk.f_favail == 0 < disk.f_files:
        yield Finding("disk_full", "person", "disk", {"folder": str(folder), "megabytes": left // 1024**2})


def _unready(name: str, checks: Mapping[str, str | None]) -> Iterator[Finding]:
    for check, reason in checks.items():
        if reason is None:
            continue
        if "mend the deployment" in reason:
            yield Finding("parking_limit", "person", name, {"reason": reason})
        elif "was deleted and made again" in reason:
            yield Finding("another_log", "person", name, {"reason": reason})
        elif "was signed" in reason:
            yield Finding("log_forked", "person", name, {"reason": reason})
        elif check.startswith(PROVIDER):
            yield Finding("provider_away", "person", name, {"provider": check.removeprefix(PROVIDER), "reason": reason})
        elif check == "http":
            yield Finding("service_away", "person", name, {"reason": reason})
        else:
            yield Finding("not_ready", "person", name, {"check": check, "reason": reason})


def _late(name: str, figures: Mapping[str, Any]) -> Iterator[Finding]:
    """What the figures of one service say."""
    if figures.get("parked"):
        what: tuple[str, Level] = ("parked", "person") if name in REDRIVABLE else ("not_recorded", "watch")
        yield Finding(*what, name, {"count": figures["parked"]})
    if figures.get("outbox_age", 0.0) > OUTBOX_LATE_SECONDS:
        facts = {"count": figures["outbox"], "seconds": round(figures["outbox_age"])}
        yield Finding("outbox_late", "person", name, facts)
    if figures.get("lag_age", 0.0) > LAG_LATE_SECONDS:
        facts = {"count": figures["lag"], "seconds": round(figures["lag_age"])}
        yield Finding("lag_late", "watch" if figures["ready"] else "person", name, facts)
    if figures.get("timers_late", 0.0) > TIMER_LATE_SECONDS:
        facts = {"count": figures["timers_due"], "seconds": round(figures["timers_late"])}
        yield Finding("timers_late", "person", name, facts)
    if figures.get("timers_failing"):
        yield Finding("timers_failing", "watch", name, {"count": figures["timers_failing"]})
    if figures.get("to_read_again"):
        yield Finding("reading_again", "watch", name, {"count": figures["to_read_again"]})
    log = figures.get("log", {})
    for found, late in (("checkpoint_late", "unsigned"), ("feed_late", "unfed")):
        if log.get(late):
            yield Finding(found, "person", name, {"count": log[late]})


def _readiness(url: str) -> dict[str, str | None]:
    """Each check with its reason; `http` when nobody answers."""
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - ours
            document = orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        try:
            document = orjson.loads(error.read())
        except orjson.JSONDecodeError:
            return {"http": f"HTTP {error.code}"}
    except (OSError, orjson.JSONDecodeError) as error:
        return {"http": type(error).__name__}
    return {name: said["reason"] for name, said in document.get("checks", {}).items()}


def _client(kafka: Mapping[str, Any]) -> Consumer:
    return Consumer(
        {
            "group.id": "operator.status",  # a name is asked for; nothing is committed under it
            "enable.auto.commit": False,
            "log_level": 0,
            "socket.timeout.ms": 5_000,
            "auto.offset.reset": "earliest",  # where the beginning was deleted
            "enable.partition.eof": True,
            **kafka,
        }
    )


def _ends(kafka: Mapping[str, Any]) -> dict[int, int] | str:
    """The end of each partition of the log, or why it cannot be said."""
    consumer = _client(kafka)
    try:
        found = consumer.list_topics(LOG_TOPIC, timeout=_ANSWER_SECONDS).topics[LOG_TOPIC]
        if found.error is not None:
            return f"{LOG_TOPIC}: {found.error.str()}"
        places = [TopicPartition(LOG_TOPIC, number) for number in found.partitions]
        return {place.partition: consumer.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)[1] for place in places}
    except KafkaException as error:
        return str(error.args[0].str())
    finally:
        consumer.close()


def lag(
    kafka: Mapping[str, Any], positions: Mapping[int, int], ends: Mapping[int, int], topic: str = LOG_TOPIC
) -> dict[str, Any]:
    """Records of the log not yet taken, and the age in seconds of the oldest of them."""
    behind = {number: end - positions.get(number, 0) for number, end in ends.items() if positions.get(number, 0) < end}
    if not behind:
        return {"lag": 0, "lag_age": 0.0}
    consumer = _client(kafka)
    try:
        consumer.assign([TopicPartition(topic, number, positions.get(number, 0)) for number in behind])
        waiting, oldest = set(behind), time.time()
        deadline = time.monotonic() + _ANSWER_SECONDS
        while waiting and time.monotonic() < deadline:
            record = consumer.poll(0.2)
            if record is None or (number := record.partition() or 0) not in waiting:
                continue
            if (error := record.error()) is None:
                oldest = min(oldest, record.timestamp()[1] / 1000)
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name in librdkafka
                continue
            waiting.discard(number)
            # From the first record on: the end of a transaction, and what was deleted, are none.
            behind[number] = max(0, ends[number] - (record.offset() or 0))
        lag = sum(behind.values())
        return {"lag": lag, "lag_age": max(0.0, time.time() - oldest) if lag else 0.0}
    finally:
        consumer.close()
