"""The embedded broker: same address and same records after a stop and after a kill."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from lostphone.embedded import EmbeddedKafka

TOPIC = "kept"


@pytest.fixture
def broker(tmp_path: Path) -> EmbeddedKafka:
    kafka = EmbeddedKafka(tmp_path / "kafka", archive=False)
    yield kafka
    kafka.kill()


def write(bootstrap: str, value: bytes) -> None:
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(TOPIC, value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failed == []


def read(bootstrap: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


def test_records_and_address_survive_a_stop_and_a_kill(broker: EmbeddedKafka) -> None:
    bootstrap = broker.start()
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(30)
    write(bootstrap, b"before the stop")

    assert broker.stop() == "stopped"
    assert not broker.running
    assert not broker.serves()

    # Another object, as another process would: all it has is the folder.
    again = EmbeddedKafka(broker.folder, archive=False)
    assert again.start() == bootstrap
    write(bootstrap, b"before the kill")
    again.kill()
    assert not again.running

    assert again.start() == bootstrap
    assert read(bootstrap, 2) == [b"before the stop", b"before the kill"]
    assert again.stop() == "stopped"
    assert again.stop() == "absent"


def test_what_it_unpacks_lies_with_its_data_and_not_where_others_may_have_left_no_room(broker: EmbeddedKafka) -> None:
    bootstrap = broker.start()
    topic = NewTopic(TOPIC, 1, config={"compression.type": "zstd"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([topic])[TOPIC].result(30)
    write(bootstrap, b"packed by the broker")
    maps = Path(f"/proc/{broker.child.pid}/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what a process has loaded; CI runs on it")
    unpacked = [line for line in maps.read_text().splitlines() if "libzstd" in line]
    assert unpacked
    assert all(str(broker.folder / "scratch") in line for line in unpacked)
