"""What must be true once all is quiet: of the log, of every service's tables, and of the world outside.

Each check yields sentences about what is wrong; none is success. They read as a superuser and with clients of others.
"""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaRecord

from lostphone.installation import SERVICES
from shared.events import LOG_TOPIC, Event, KeyRing, Received, read
from shared.messaging.dead_letter import dead_letter_topic
from tests.chaos.ends import end_of
from tests.chaos.people import until_true
from tests.chaos.stories import Story
from tests.chaos.world import World

_POLL_SECONDS = 30


# -- quiet -------------------------------------------------------------------------------------------------------------


async def until_quiet(world: World, until: float) -> None:
    """Return when nothing is under way any more: outboxes empty, the log taken by all, no timer due, feed and
    checkpoint at the end. Raises `TooLateError` naming what still moves."""
    waiting = "the database"

    async def quiet() -> bool:
        nonlocal waiting
        try:
            waiting = await _moving(world) or ""
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            waiting = f"the database: {type(error).__name__}"
        except KafkaException as error:  # such as a partition without a leader, right after the broker came back
            waiting = f"the broker: {error}"
        return not waiting

    try:
        await until_true(quiet, "quiet", until, pause=1.0)
    except Exception as error:
        error.add_note(f"still moving: {waiting}")
        raise


async def _moving(world: World) -> str | None:
    ends = log_ends(world.bootstrap)
    connection = await world.database()
    try:
        for service in SERVICES:
            if count := await connection.fetchval(f"SELECT count(*) FROM {service}.outbox"):
                return f"{count} events in the outbox of {service}"
            rows = await connection.fetch(
                f"SELECT partition, next_offset FROM {service}.position WHERE topic = $1", LOG_TOPIC
            )
            taken = {row["partition"]: row["next_offset"] for row in rows}
            behind = {at: (taken.get(at, 0), end) for at, end in ends.items() if taken.get(at, 0) < end}
            if behind:
                return f"{service} has not taken {behind}"
            due = await connection.fetch(f"SELECT subject, name, attempt FROM {service}.timer WHERE due_at <= now()")
            if due:
                return f"{service} has timers that are due: {[tuple(row) for row in due[:3]]}"
            # A timer that fires is leased for a minute; watches come back within seconds and do not count.
            leased = await connection.fetch(
                f"SELECT name, attempt FROM {service}.timer WHERE attempt > 0 AND name NOT LIKE 'watch:%'"
            )
            if leased:
                return f"{service} has timers at work: {[tuple(row) for row in leased[:3]]}"
        state = await connection.fetchrow(
            "SELECT size, (SELECT next_seq FROM audit.feed WHERE name = 'outward') AS fed, "
            "(SELECT max(size) FROM audit.checkpoint) AS signed FROM audit.log_state"
        )
        if not state["size"] == state["fed"] == state["signed"]:
            return f"timeline at {state['size']}, fed {state['fed']}, signed {state['signed']}"
    finally:
        await connection.close()
    return None


# -- the log -----------------------------------------------------------------------------------------------------------


def log_ends(bootstrap: str, topic: str = LOG_TOPIC) -> dict[int, int]:
    """Where each partition of a topic ends."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "chaos-checks"})
    try:
        partitions = consumer.list_topics(topic, timeout=_POLL_SECONDS).topics[topic].partitions
        return {at: end_of(consumer, TopicPartition(topic, at)) for at in partitions}
    finally:
        consumer.close()


def records(bootstrap: str, *topics: str) -> list[KafkaRecord]:
    """Everything in these topics, by partition and offset, read with another client than ours."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "chaos-checks",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    try:
        known = consumer.list_topics(timeout=_POLL_SECONDS).topics
        places = [TopicPartition(name, at, OFFSET_BEGINNING) for name in topics for at in known[name].partitions]
        consumer.assign(places)
        found: list[KafkaRecord] = []
        ended = 0
        while ended < len(places):
            record = consumer.poll(_POLL_SECONDS)
            assert record is not None, "the broker went silent"
            if (error := record.error()) is None:
                found.append(record)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error.str()
                ended += 1
        return sorted(found, key=lambda record: (record.topic(), record.partition(), record.offset()))
    finally:
        consumer.close()


def received(record: KafkaRecord) -> Received:
    return Received(
        record.topic(),
        record.partition(),
        record.offset(),
        record.timestamp()[1],
        record.key(),
        tuple(record.headers() or ()),
        record.value(),
    )


def check_log(world: World) -> Iterator[str]:
    """Every record verifies; per source and subject each sequence is there, in order, and belongs to one event."""
    keyring = KeyRing(world.installation.event_keys_file)
    sequences: dict[tuple[str, str], list[int]] = defaultdict(list)
    owners: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for record in records(world.bootstrap, LOG_TOPIC):
        reading = read(received(record), keyring)
        if not isinstance(reading, Event):
            yield f"log {record.partition()}@{record.offset()}: {reading.kind} {reading.reason}"
            continue
        envelope = reading.envelope
        pair = (envelope.source, envelope.subject)
        owners[*pair, envelope.sequence].add(envelope.id)
        if envelope.sequence not in sequences[pair]:
            sequences[pair].append(envelope.sequence)  # a batch may be sent twice; its first occurrence counts
    for pair, found in sequences.items():
        if found != list(range(1, len(found) + 1)):
            yield f"log: the sequences of {pair} are {found}"
    for (source, subject, sequence), ids in owners.items():
        if len(ids) > 1:
            yield f"log: {source} {subject} has sequence {sequence} for {sorted(ids)}"


def repeats(world: World) -> int:
    """How many records of the log say again what stands there already: what a relay that was killed sent twice."""
    ids = Counter(dict(record.headers() or ())["ce_id"] for record in records(world.bootstrap, LOG_TOPIC))
    return sum(count - 1 for count in ids.values())


def check_dead_letters(world: World) -> Iterator[str]:
    """Nothing was parked: outages are nobody's fault."""
    for service in SERVICES:
        for record in records(world.bootstrap, dead_letter_topic(service)):
            told = {name: value for name, value in record.headers() or () if name.startswith("dlq_")}
            yield f"{service} parked {told}"


def check_timeline(world: World) -> Iterator[str]:
    """`lostphone verify`, as an auditor would run it."""
    log = world.status.log
    command = [
        sys.executable, "-m", "lostphone", "verify", log.url, "--vkey", log.vkey, "--token", log.bearer,
        "--event-keys", str(world.installation.event_keys_file), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode != 0:
        yield f"verify ended with {done.returncode}: {done.stdout[-3000:]} {done.stderr[-500:]}"


# -- tables ------------------------------------------------------------------------------------------------------------

_NEVER: dict[str, str] = {
    "a device of two open cases": """
        SELECT device, count(*) FROM reporter.incident WHERE joinable AND device IS NOT NULL
        GROUP BY organisation, device, drill HAVING count(*) > 1""",
    "a case without a report": """
        SELECT i.incident FROM reporter.incident i LEFT JOIN reporter.report r USING (incident)
        WHERE r.incident IS NULL""",
    "a report numbered with a gap": """
        SELECT incident FROM reporter.report GROUP BY incident HAVING max(number) <> count(*)""",
    "a case whose columns say other than its state": """
        SELECT incident FROM reporter.incident
        WHERE ended <> (state->>'ended' IS NOT NULL) OR organisation <> state->>'organisation'""",
    "an idempotency key without its case": """
        SELECT k.key FROM reporter.accepted_key k LEFT JOIN reporter.incident i USING (incident)
        WHERE i.incident IS NULL""",
    "an incident of the reporter that mdm_actions or notifier does not know": """
        SELECT incident FROM reporter.incident EXCEPT
        (SELECT incident FROM mdm_actions.incident INTERSECT SELECT incident FROM notifier.incident)""",
    "an incident that only a hearer knows": """
        (SELECT incident FROM mdm_actions.incident UNION SELECT incident FROM notifier.incident)
        EXCEPT SELECT incident FROM reporter.incident""",
    "an ended command without its time, or an open one with it": """
        SELECT command, state, ended_at FROM mdm_actions.command
        WHERE (state IN ('requested','awaiting_approval','queued','deferred')) = (ended_at IS NOT NULL)""",
    "a command that is to be sent and has no timer": """
        SELECT c.command, c.kind FROM mdm_actions.command c WHERE state = 'requested' AND NOT EXISTS (
            SELECT FROM mdm_actions.timer t WHERE t.subject = c.incident AND t.name LIKE '%:' || c.command)""",
    "a command with its provider that nobody watches": """
        SELECT c.command, c.kind FROM mdm_actions.command c WHERE state IN ('queued', 'deferred') AND NOT EXISTS (
            SELECT FROM mdm_actions.timer t WHERE t.subject = c.incident AND t.name = 'watch:' || c.command)""",
    "two wipes for one approval": """
        SELECT statement->>'nonce' FROM mdm_actions.command WHERE kind = 'wipe'
        GROUP BY 1 HAVING count(*) > 1""",
    "a wipe whose nonce is not marked as used": """
        SELECT c.command FROM mdm_actions.command c LEFT JOIN mdm_actions.nonce n ON n.nonce = c.statement->>'nonce'
        WHERE c.kind = 'wipe' AND n.nonce IS NULL""",
    "a line stopped while the case of its phone has a wipe that may still act, without a name": """
        SELECT s.command FROM mdm_actions.command s JOIN mdm_actions.command w USING (incident)
        WHERE s.kind = 'suspend_line' AND s.state = 'succeeded' AND s.trigger NOT IN ('named_override', 'timer')
          AND w.kind = 'wipe' AND w.state IN ('requested', 'queued', 'deferred')""",
    "a notice that is neither planned nor settled": """
        SELECT batch, person, state FROM notifier.notice WHERE state IN ('planned', 'sending')""",
    "a batch that is not settled": "SELECT batch FROM notifier.batch WHERE settled_at IS NULL",
    "a person told twice": """
        SELECT p.incident, p.contact FROM notifier.notice n JOIN notifier.principal p USING (person)
        GROUP BY 1, 2 HAVING count(*) > 1""",
    "an accepted notice without an accepted attempt": """
        SELECT n.batch, n.person FROM notifier.notice n WHERE state = 'accepted' AND NOT EXISTS (
            SELECT FROM notifier.notice_attempt a WHERE a.batch = n.batch AND a.person = n.person
            AND a.outcome = 'accepted')""",
    "a duty twice": """
        SELECT incident, opened->>'rule', opened->>'phase' FROM notifier.duty
        GROUP BY 1, 2, 3 HAVING count(*) > 1""",
    "an ended duty with a clock": """
        SELECT d.duty, t.name FROM notifier.duty d JOIN notifier.timer t
        ON t.subject = d.incident AND t.name LIKE 'duty_%:' || d.duty WHERE d.state <> 'open'""",
    "an entry of the timeline out of its place": """
        SELECT seq FROM (SELECT seq, row_number() OVER (ORDER BY seq) - 1 AS place FROM audit.entry) AS e
        WHERE seq <> place""",
    "a chain with a hole": """
        SELECT subject FROM audit.entry WHERE subject IS NOT NULL GROUP BY subject
        HAVING max(n) <> count(*) - 1 OR min(n) <> 0""",
    "an event recorded twice in a chain": """
        SELECT event_id FROM audit.entry WHERE event_id IS NOT NULL AND subject IS NOT NULL
        GROUP BY source, event_id HAVING count(*) > 1""",
    "a partition recorded with a hole": """
        SELECT stream_id FROM audit.entry WHERE stream_id IS NOT NULL GROUP BY stream_id
        HAVING max(kafka_offset) - min(kafka_offset) + 1 <> count(*)""",
}
"""Query → what it must never find."""

_NEVER_IN_ANY = {
    "a sequence below what was heard of itself": """
        SELECT h.subject FROM {schema}.heard h JOIN {writer}.subject_sequence s USING (subject)
        WHERE h.source LIKE '%/{writer}' AND h.sequence <> s.last""",
}
"""The same, of each hearer and each writer of the log."""


async def check_tables(world: World) -> Any:
    """Sentences about rows that must not be there."""
    found: list[str] = []
    connection = await world.database()
    try:
        queries = dict(_NEVER)
        for name, query in _NEVER_IN_ANY.items():
            for schema in SERVICES:
                for writer in ("reporter", "mdm_actions", "notifier"):
                    queries[f"{name}: {schema} of {writer}"] = query.format(schema=schema, writer=writer)
        for name, query in queries.items():
            rows = await connection.fetch(f"{query} LIMIT 5")
            if rows:
                found.append(f"{name}: {[tuple(row) for row in rows]}")
    finally:
        await connection.close()
    return found


# -- stories and the world outside ------------------------------------------------------------------------------------

_ENDS = {"wiped": "closed", "found": "closed", "line": "closed", "cancelled": "cancelled"}


def check_stories(stories: Sequence[Story]) -> Iterator[str]:
    """Every story came to its end; every accepted report has a case."""
    for story in stories:
        if story.failed:
            yield f"{story.plot} {story.tag} {story.incident}: {story.failed}"
        elif story.ended != _ENDS[story.plot]:
            yield f"{story.plot} {story.tag} {story.incident} ended as {story.ended}: {story.steps}"
    opened = Counter(story.incident for story in stories if story.incident)
    for incident, count in opened.items():
        if count > 1:
            yield f"case {incident} is about {count} phones"


async def check_outside(world: World, stories: Sequence[Story]) -> list[str]:
    """Each effect once where the provider can be asked; where not, `uncertain` says how it stands."""
    found: list[str] = []
    found += _check_phones(world, stories)
    found += _check_vendors(world, stories)
    connection = await world.database()
    try:
        found += await _check_notices(world, connection, stories)
    finally:
        await connection.close()
    return found


def _check_phones(world: World, stories: Sequence[Story]) -> Iterator[str]:
    """A phone may be handed one command again when its report was lost; a second command of the kind it never is."""
    commands: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry in world.journal("phones"):
        match = re.match(r"/phones/([^/]+)/(\w+)$", entry["path"])
        if entry["method"] == "COMMAND" and match:
            commands[match[1], match[2]].add(entry["body"]["CommandUUID"])
    for story in stories:
        wanted = {"EraseDevice": story.plot == "wiped", "DisableLostMode": story.plot == "found"}
        for kind, is_wanted in wanted.items():
            given = len(commands[story.udid, kind])
            if given != int(is_wanted):
                yield f"{story.plot} {story.tag}: {given} different {kind}"
        if len(commands[story.udid, "EnableLostMode"]) > 1:
            yield f"{story.plot} {story.tag}: put into lost mode by more than one command"


def _check_vendors(world: World, stories: Sequence[Story]) -> Iterator[str]:
    stopped, opened, revoked = Counter[str](), Counter[str](), Counter[str]()
    for entry in world.journal("carrier"):
        match = re.match(r"/v1/sims/(\w+)/(suspend|deactivate|activate)$", entry["path"])
        if match and entry.get("fault") not in ("drop", "answer") and entry["answer"]["status"] == 200:
            (opened if match[2] == "activate" else stopped)[match[1]] += 1
    for entry in world.journal("entra"):
        match = re.match(r"/v1\.0/users/([^/]+)/revokeSignInSessions$", entry["path"])
        if match and entry.get("fault") not in ("drop", "answer") and entry["answer"]["status"] in (200, 204):
            revoked[match[1]] += 1
    for story in stories:
        should_stop = story.plot in ("wiped", "line")
        if stopped[story.sim] != int(should_stop) or opened[story.sim]:
            yield f"{story.plot} {story.tag}: line stopped {stopped[story.sim]} times, opened {opened[story.sim]}"
        if revoked[story.account] != int(story.plot != "cancelled"):
            yield f"{story.plot} {story.tag}: sessions revoked {revoked[story.account]} times"


async def _check_notices(world: World, connection: asyncpg.Connection, stories: Sequence[Story]) -> list[str]:
    arrived = _arrived(world)
    found: list[str] = []
    for story in stories:
        if story.plot == "wiped" and story.incident:
            rows = await connection.fetch(
                "SELECT n.state, n.channel, count(*) AS people FROM notifier.notice n JOIN notifier.batch b "
                "USING (batch) WHERE b.incident = $1 GROUP BY 1, 2",
                story.incident,
            )
            by = {(row["channel"], row["state"]): row["people"] for row in rows}
            found += [f"{story.tag}: {what}" for what in _check_told(story, by, arrived)]
    return found


def _arrived(world: World) -> Counter[str]:
    """How often something reached each address."""
    arrived = Counter[str]()
    for entry in world.journal("mail"):
        if entry["method"] == "DATA" and entry.get("fault") not in ("drop", "answer"):
            arrived[entry["path"].strip("/")] += 1
    for entry in world.journal("line"):
        # A repeat with the same key is answered 409 and delivers nothing.
        pushed = entry["path"].endswith("/push") and entry["answer"]["status"] == 200
        if pushed and entry.get("fault") not in ("drop", "answer"):
            arrived[entry["body"]["to"]] += 1
    return arrived


def _check_told(story: Story, by: dict[tuple[str, str], int], arrived: Counter[str]) -> Iterator[str]:
    if sum(by.values()) != len(story.people) or {state for _, state in by} - {"accepted", "uncertain"}:
        yield f"notices to {len(story.people)} people ended as {by}"
    if any(arrived[address] > 1 for address in story.people):
        yield f"somebody was told more than once: {[arrived[address] for address in story.people]}"
    missed, unsure = sum(not arrived[address] for address in story.people), by.get(("mail", "uncertain"), 0)
    if missed > unsure:
        yield f"{missed} people were not reached, and only {unsure} notices are uncertain"
    if by.get(("line", "uncertain")):
        yield "a push is uncertain although LINE can be asked"


async def uncertain(world: World) -> int:
    """How many notices nobody can know about; each is shown in its case and calls for a telephone call."""
    connection = await world.database()
    try:
        return int(await connection.fetchval("SELECT count(*) FROM notifier.notice WHERE state = 'uncertain'"))
    finally:
        await connection.close()


async def check_all(world: World, stories: Sequence[Story]) -> list[str]:
    """Everything above."""
    return [
        *check_stories(stories),
        *check_log(world),
        *check_dead_letters(world),
        *check_timeline(world),
        *await check_tables(world),
        *await check_outside(world, stories),
    ]
