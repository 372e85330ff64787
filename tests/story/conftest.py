"""One whole installation, and the demo played into it once; the tests look at what it left, from outside.

It stands on a broker and a database that somebody else runs, as the environment names them; `tests/secure` plays the
demo on those that an installation starts itself.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaRecord

from lostphone.embedded import EmbeddedKafka, EmbeddedPostgres
from lostphone.status import Status

_ROOT = Path(__file__).parents[2]
_UP_SECONDS = 280
_DEMO_SECONDS = 280


@dataclass(frozen=True)
class Played:
    """The installation after the demo."""

    status: Status
    lines: list[dict[str, Any]]
    folder: Path
    incident: str

    def records(self, *topics: str) -> list[KafkaRecord]:
        """Everything in these topics, read with another client than ours."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.status.kafka.bootstrap,
                "group.id": "an-integrator",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            known = consumer.list_topics(timeout=15).topics
            places = [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in topics
                for partition in known[topic].partitions
            ]
            consumer.assign(places)
            found: list[KafkaRecord] = []
            ended = 0
            while ended < len(places):
                record = consumer.poll(15)
                assert record is not None, "the broker went silent"
                if (error := record.error()) is None:
                    found.append(record)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error.str()
                    ended += 1
            return found
        finally:
            consumer.close()

    def topics(self) -> list[str]:
        """Every topic of the product."""
        consumer = Consumer({"bootstrap.servers": self.status.kafka.bootstrap, "group.id": "an-integrator"})
        try:
            return sorted(name for name in consumer.list_topics(timeout=15).topics if name.startswith("lostphone."))
        finally:
            consumer.close()


def _lostphone(*arguments: str, seconds: float, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lostphone", *arguments],
        cwd=_ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


@dataclass(frozen=True)
class Others:
    """A broker and a database that no installation started."""

    kafka: EmbeddedKafka
    postgres: EmbeddedPostgres

    def environment(self) -> dict[str, str]:
        """As an operator names them to `up`."""
        return {"LOSTPHONE_KAFKA_BOOTSTRAP": self.kafka.bootstrap, "LOSTPHONE_POSTGRES_DSN": self.postgres.dsn()}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Others]:
    place = tmp_path_factory.mktemp("others")
    parts = Others(EmbeddedKafka(place / "kafka"), EmbeddedPostgres(place / "postgres", durable=False))
    try:
        parts.kafka.start()
        parts.postgres.start()
        yield parts
    finally:
        parts.postgres.stop()
        parts.kafka.stop()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, others: Others) -> Iterator[Played]:
    place = tmp_path_factory.mktemp("story")
    data_dir, folder = place / "data", place / "demo"
    up = _lostphone(
        "up", "--detach", "--json", "--data-dir", str(data_dir), seconds=_UP_SECONDS, **others.environment()
    )
    try:
        assert up.returncode == 0, up.stderr
        demo = _lostphone("demo", "--json", "--data-dir", str(data_dir), "--folder", str(folder), seconds=_DEMO_SECONDS)
        assert demo.returncode == 0, demo.stderr + demo.stdout[-2000:]
        lines = [json.loads(line) for line in demo.stdout.splitlines()]
        (lost,) = [line for line in lines if line.get("event") == "DeviceLost"]
        yield Played(Status.model_validate_json(up.stdout), lines, folder, lost["subject"])
        down = _lostphone("down", "--data-dir", str(data_dir), seconds=120)
        assert down.returncode == 0, down.stderr
        assert others.kafka.serves(), "down ended a broker that is not its own"
        assert others.postgres.serves(), "down ended a database that is not its own"
    finally:
        _lostphone("down", "--data-dir", str(data_dir), seconds=120)
