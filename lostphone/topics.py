"""Kafka topics as the registry of events wants them: compared with a broker, made, and brought in line.

    state = await asyncio.to_thread(apply, connection, manifest())

Bringing in line deletes nothing, and adds no partitions: both would break the order of incidents that are open.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from shared.events.contracts import Topic, topics

manifest = topics
"""All topics of an installation, as committed in contracts/topics.yaml."""
_LEADERS_WITHIN = 30.0
_CALL_TIMEOUT = 8.0


class BrokerError(Exception):
    """The broker could not be reached, or refused; the message says which call."""


State = Literal["created", "updated", "unchanged", "missing", "differs", "drift"]


@dataclass(frozen=True)
class Standing:
    """How one topic stands. `changed`: what was, or would be, brought in line, with the value before.
    `drift`: what cannot be mended here."""

    name: str
    state: State
    changed: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    drift: tuple[str, ...] = ()

    def public(self) -> dict[str, Any]:
        """As `--json` prints it."""
        changed = {name: {"before": before, "after": after} for name, (before, after) in self.changed.items()}
        return {"topic": self.name, "state": self.state, "changed": changed, "drift": list(self.drift)}


def compare(connection: Mapping[str, Any], topics: Iterable[Topic]) -> list[Standing]:
    """How the broker stands, changing nothing. Raises `BrokerError`."""
    return _standings(_admin(connection), list(topics))


def apply(connection: Mapping[str, Any], topics: Iterable[Topic], *, replicas: int | None = None) -> list[Standing]:
    """Make what is missing, set what differs, and wait until every partition has a leader. Doing it again changes
    nothing. `replicas` None takes the broker's default. Raises `BrokerError`."""
    admin = _admin(connection)
    wanted = list(topics)
    before = _standings(admin, wanted)
    _create(admin, [topic for topic, now in zip(wanted, before, strict=True) if now.state == "missing"], replicas)
    _alter(admin, [now for now in before if now.changed])
    _await_leaders(admin, wanted)
    return [_after(now) for now in before]


def delete(connection: Mapping[str, Any], names: Sequence[str]) -> None:
    """Delete these topics and wait until none is there. Raises `BrokerError`."""
    admin = _admin(connection)
    for name, answer in admin.delete_topics(list(names)).items():
        _wait(answer, f"topic {name} could not be deleted", unless="UNKNOWN_TOPIC_OR_PART")
    deadline = time.monotonic() + _LEADERS_WITHIN
    while there := _partitions(admin).keys() & set(names):
        if time.monotonic() > deadline:
            raise BrokerError(f"still there after {_LEADERS_WITHIN:.0f} s: {', '.join(sorted(there))}")
        time.sleep(0.05)


def set_config(connection: Mapping[str, Any], topic: str, key: str, value: str) -> None:
    """Set one thing of a topic's configuration, and wait until the broker says so. Raises `BrokerError`."""
    admin = _admin(connection)
    _alter(admin, [Standing(topic, "differs", {key: (None, value)})])
    deadline = time.monotonic() + _LEADERS_WITHIN
    while _configs(admin, [topic])[topic].get(key) != value:
        if time.monotonic() > deadline:
            raise BrokerError(f"{topic} has another {key} than {value} after {_LEADERS_WITHIN:.0f} s")
        time.sleep(0.05)


def config(connection: Mapping[str, Any], topic: str, key: str) -> str:
    """One thing of a topic's configuration, as the broker says it. Raises `BrokerError`."""
    return _configs(_admin(connection), [topic])[topic][key]


def _after(before: Standing) -> Standing:
    done: dict[State, State] = {"missing": "created", "differs": "updated"}
    return Standing(before.name, done.get(before.state, before.state), before.changed, before.drift)


def _admin(connection: Mapping[str, Any]) -> AdminClient:
    return AdminClient({"log_level": 0, "socket.timeout.ms": 10_000, **connection})


def _standings(admin: AdminClient, topics: list[Topic]) -> list[Standing]:
    present = _partitions(admin)
    configs = _configs(admin, [topic.name for topic in topics if topic.name in present])
    return [_standing(topic, present.get(topic.name), configs.get(topic.name, {})) for topic in topics]


def _standing(topic: Topic, partitions: int | None, config: Mapping[str, str]) -> Standing:
    if partitions is None:
        return Standing(topic.name, "missing")
    drift = () if partitions == topic.partitions else (f"partitions: {partitions}, not {topic.partitions}",)
    changed = {key: (config.get(key), value) for key, value in topic.config.items() if config.get(key) != value}
    return Standing(topic.name, "differs" if changed else "drift" if drift else "unchanged", changed, drift)


def _partitions(admin: AdminClient) -> dict[str, int]:
    try:
        return {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=_CALL_TIMEOUT).topics.items()}
    except KafkaException as error:
        raise BrokerError(f"topics could not be listed: {_reason(error)}") from error


def _configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
    return {
        resource.name: {key: entry.value for key, entry in _wait(answer, "configuration could not be read").items()}
        for resource, answer in asked.items()
    }


def _create(admin: AdminClient, topics: list[Topic], replicas: int | None) -> None:
    if not topics:
        return
    new = [NewTopic(topic.name, topic.partitions, replicas or -1, config=dict(topic.config)) for topic in topics]
    for name, answer in admin.create_topics(new).items():
        _wait(answer, f"topic {name} could not be created", unless="TOPIC_ALREADY_EXISTS")


def _alter(admin: AdminClient, standings: list[Standing]) -> None:
    if not standings:
        return
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            now.name,
            incremental_configs=[
                ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                for key, (_, value) in now.changed.items()
            ],
        )
        for now in standings
    ]
    for resource, answer in admin.incremental_alter_configs(resources).items():
        _wait(answer, f"configuration of topic {resource.name} could not be set")


def _await_leaders(admin: AdminClient, topics: list[Topic]) -> None:
    deadline = time.monotonic() + _LEADERS_WITHIN
    while waiting := _leaderless(admin, topics):
        if time.monotonic() > deadline:
            raise BrokerError(f"no leader after {_LEADERS_WITHIN:.0f} s: {', '.join(waiting[:5])}")
        time.sleep(0.05)


def _leaderless(admin: AdminClient, topics: list[Topic]) -> list[str]:
    try:
        known = admin.list_topics(timeout=_CALL_TIMEOUT).topics
    except KafkaException as error:
        raise BrokerError(f"topics could not be listed: {_reason(error)}") from error
    return [
        topic.name
        for topic in topics
        if topic.name not in known
        or not known[topic.name].partitions
        or any(partition.leader < 0 for partition in known[topic.name].partitions.values())
    ]


def _wait(answer: Any, failure: str, *, unless: str | None = None) -> Any:
    try:
        return answer.result(timeout=_CALL_TIMEOUT)
    except KafkaException as error:
        if unless is not None and error.args[0].name() == unless:
            return None
        raise BrokerError(f"{failure}: {_reason(error)}") from error


def _reason(error: KafkaException) -> str:
    return str(error.args[0].str())
