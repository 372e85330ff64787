"""What a principal can really do on a guarded broker, tried with a client that is not ours, and what it should."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from lostphone.acls import _EVERY_ACL
from shared.events.contracts import Acl

DENIED = "AUTHORIZATION_FAILED"
WITHIN = 30.0
# What Kafka lets happen along with something else (its own documentation, "Authorization primitives").
_IMPLIES = {"describe": {"read", "write", "delete", "alter"}, "describe_configs": {"alter_configs"}}

type Pair = tuple[str, str]
"""An operation, and on what."""


@dataclass(frozen=True)
class Rights:
    """The manifest, asked for one principal."""

    principal: str
    granted: tuple[Acl, ...]

    def allows(self, operation: str, resource: str, name: str) -> bool:
        return any(
            acl.principal == f"User:{self.principal}"
            and acl.resource == resource
            and ({operation} | _IMPLIES.get(operation, set())) & set(acl.operations)
            and (name == acl.name or (acl.pattern == "prefixed" and name.startswith(acl.name)))
            for acl in self.granted
        )


class Bus:
    """One principal at the broker."""

    def __init__(self, connection: Mapping[str, Any]) -> None:
        self._connection = {"log_level": 0, **connection}
        self._admin = AdminClient(self._connection)

    def writes(self, topics: Iterable[str]) -> dict[str, bool]:
        """Whether a record to each topic is taken."""
        said: dict[str, bool] = {}
        producer = Producer({**self._connection, "acks": "all", "message.timeout.ms": int(WITHIN * 1000)})
        for topic in topics:

            def told(error: KafkaError | None, _: object, topic: str = topic) -> None:
                said[topic] = _allowed(error)

            try:
                producer.produce(topic, b"{}", key=b"rights", partition=0, on_delivery=told)
            except KafkaException as error:
                # The client has heard from the broker already that this topic is denied, and hands nothing over.
                told(error.args[0], None)
        producer.flush(WITHIN)
        return said

    def reads(self, topics: Iterable[str], group: str) -> dict[str, bool]:
        """Whether each topic can be fetched from."""
        # Of what a principal may not read or describe, the broker does not even say that it is there.
        visible = set(self._admin.list_topics(timeout=WITHIN).topics)
        said = dict.fromkeys(set(topics) - visible, False)
        consumer = Consumer(
            {**self._connection, "group.id": group, "enable.auto.commit": False, "enable.partition.eof": True}
        )
        wanted = set(topics)
        try:
            consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in wanted & visible])
            while set(said) != wanted:
                message = consumer.poll(WITHIN)
                assert message is not None, f"the broker says nothing about {wanted - set(said)}"
                error, topic = message.error(), message.topic()
                if topic is None:
                    assert error is not None
                    raise AssertionError(f"{group}: {error}")
                if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                at_end = error is not None and error.code() == KafkaError._PARTITION_EOF
                said[topic] = error is None or at_end or _allowed(error)
        finally:
            consumer.close()
        return said

    def groups(self, names: Iterable[str], topic: str) -> dict[str, bool]:
        """Whether the place of each group in a topic can be set."""
        place = [TopicPartition(topic, 0, 0)]
        return {name: self._may_place(ConsumerGroupTopicPartitions(name, place)) for name in names}

    def _may_place(self, asked: ConsumerGroupTopicPartitions) -> bool:
        answer = self._admin.alter_consumer_group_offsets([asked])[asked.group_id]
        if not _answered(answer):
            return False
        # A principal that may see the group is refused place by place.
        return answer.exception() is not None or all(
            _allowed(place.error) for place in answer.result().topic_partitions
        )

    def creates(self, topic: str) -> bool:
        return self._may(lambda: self._admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True))

    def alters(self, topics: Iterable[str]) -> dict[str, bool]:
        """Whether the configuration of each topic could be set; nothing is."""
        entry = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
        asked = self._admin.incremental_alter_configs(
            [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in topics],
            validate_only=True,
        )
        return {resource.name: _answered(answer) for resource, answer in asked.items()}

    def adds_partitions(self, topics: Iterable[str]) -> dict[str, bool]:
        """Whether each topic could get more partitions; none does."""
        asked = self._admin.create_partitions([NewPartitions(topic, 99) for topic in topics], validate_only=True)
        return {topic: _answered(answer) for topic, answer in asked.items()}

    def configures_the_broker(self) -> bool:
        """Whether the broker could be told otherwise; it is not."""
        entry = ConfigEntry("log.retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
        broker = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
        return self._may(lambda: self._admin.incremental_alter_configs([broker], validate_only=True))

    def transacts(self, name: str) -> bool:
        producer = Producer({**self._connection, "transactional.id": name})
        try:
            producer.init_transactions(WITHIN)
        except KafkaException as error:
            return _allowed(error.args[0])
        return True

    def deletes_groups(self, names: Iterable[str]) -> dict[str, bool]:
        return {name: _answered(answer) for name, answer in self._admin.delete_consumer_groups(list(names)).items()}

    def deletes(self, topics: Iterable[str]) -> dict[str, bool]:
        return {topic: _answered(answer) for topic, answer in self._admin.delete_topics(list(topics)).items()}

    def deletes_records(self, topics: Iterable[str]) -> dict[str, bool]:
        """Whether records could be deleted; those before the first are."""
        asked = self._admin.delete_records([TopicPartition(topic, 0, 0) for topic in topics])
        return {place.topic: _answered(answer) for place, answer in asked.items()}

    def sees_acls(self) -> bool:
        """The library keeps a refusal to itself and answers that there are none."""
        return bool(self._admin.describe_acls(_EVERY_ACL).result(timeout=WITHIN))

    def grants(self, principal: str, topic: str) -> bool:
        """Whether it can give somebody the right to write."""
        binding = AclBinding(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{principal}", "*",
            AclOperation.WRITE, AclPermissionType.ALLOW,
        )  # fmt: skip
        return self._may(lambda: self._admin.create_acls([binding]))

    def sets_password(self, principal: str) -> bool:
        how = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192)
        asked = [UserScramCredentialUpsertion(principal, how, b"taken over")]
        return self._may(lambda: self._admin.alter_user_scram_credentials(asked))

    def _may(self, call: Callable[[], Mapping[Any, Any]]) -> bool:
        answers = [_answered(answer) for answer in call().values()]
        return all(answers)


def signs_in(connection: Mapping[str, Any]) -> bool:
    try:
        AdminClient({"log_level": 0, **connection}).list_topics(timeout=4)
    except KafkaException:
        return False
    return True


def _answered(answer: Any) -> bool:
    try:
        answer.result(timeout=WITHIN)
    except KafkaException as error:
        return _allowed(error.args[0])
    return True


def _allowed(error: KafkaError | None) -> bool:
    """Whether the broker let it happen, or would have, but for something that is not about rights."""
    if error is None:
        return True
    if error.name().endswith(DENIED):
        return False
    assert error.code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP), str(error)
    return True
