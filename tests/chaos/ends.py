"""Where partitions end, also while a broker that has just come up still looks for their leaders."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

_SECONDS = 30.0
_PAUSE_SECONDS = 0.2
_FOR_NOW = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


def end_of(consumer: Consumer, place: TopicPartition) -> int:
    """The offset that the next record will get. Raises `KafkaException` when no leader says so within 30 seconds."""
    until = time.monotonic() + _SECONDS
    while True:
        try:
            return int(consumer.get_watermark_offsets(place, timeout=_SECONDS)[1])
        except KafkaException as error:
            if error.args[0].code() not in _FOR_NOW or time.monotonic() > until:
                raise
        consumer.list_topics(place.topic, timeout=_SECONDS)
        time.sleep(_PAUSE_SECONDS)
