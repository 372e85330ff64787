"""Which topic lies under a name. Kafka gives each one an id, and another to one that is deleted and made again.

aiokafka asks for metadata in a version that has no ids; this is the same request in the first version that has them and
no more, on the connections that the client has anyway.
"""

from collections.abc import Collection, Mapping
from io import BytesIO
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, StaleMetadata, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields
from aiokafka.structs import TopicPartition

_METADATA = 3
_WITH_IDS = 11
"""Since Kafka 2.8."""
_NONE = UUID(int=0)


async def topic_ids(client: AIOKafkaClient, places: Collection[TopicPartition]) -> Mapping[str, UUID]:
    """The ids of the topics of these places, as the leaders of the partitions know them: what a leader gave before it
    is asked is of no later topic. A broker that is too old for ids gives none. Raises `KafkaError`."""
    found: dict[str, UUID] = {}
    names = sorted({place.topic for place in places})
    for node in {client.cluster.leader_for_partition(place) for place in places}:
        if node is None or node < 0:
            raise LeaderNotAvailableError
        try:
            answer = await client.send(node, _Metadata(names))
        except NotImplementedError:
            return {}
        for error, name, topic_id, *_ in answer.topics:
            if error:
                raise _error(error)
            if topic_id != _NONE and found.setdefault(name, topic_id) != topic_id:
                raise StaleMetadata(f"brokers do not agree which topic is {name}")
    return found


def _error(code: int) -> KafkaError:
    error: KafkaError = for_code(code)()
    return error


class _Uuid(AbstractType):  # type: ignore[misc] # aiokafka ships no types
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _Answer(Response):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = _WITH_IDS
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Asked(RequestStruct):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = _WITH_IDS
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Metadata(Request[_Asked]):  # type: ignore[misc]
    API_KEY = _METADATA

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_Asked]) -> _Asked:
        return request_struct_class([(_NONE, name, {}) for name in self._names], False, False, {})
