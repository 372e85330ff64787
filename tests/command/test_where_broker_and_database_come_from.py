"""The one rule: the address in the environment; for tests Docker when an engine answers; else the embedded ones."""

from pathlib import Path

import pytest

from lostphone.embedded.kafka_properties import Plaintext, broker_properties
from lostphone.sources import Part, Source, choose
from tests.stack.containers import kafka_variables, published, variable


def yes() -> bool:
    return True


def no() -> bool:
    return False


def never() -> bool:
    raise AssertionError("Docker was asked")


@pytest.mark.parametrize(("part", "name"), [("kafka", "LOSTPHONE_TEST_KAFKA"), ("postgres", "LOSTPHONE_TEST_POSTGRES")])
def test_an_address_in_the_environment_wins_and_docker_is_not_asked(part: Part, name: str) -> None:
    chosen = choose(part, for_tests=True, environment={name: "there:1"}, engine_answers=never)
    assert chosen == (Source.ENVIRONMENT, "there:1")


def test_each_part_is_chosen_by_itself() -> None:
    environment = {"LOSTPHONE_TEST_KAFKA": "there:1"}
    assert choose("postgres", for_tests=True, environment=environment, engine_answers=no) == (Source.EMBEDDED, None)


def test_tests_take_docker_when_an_engine_answers() -> None:
    assert choose("kafka", for_tests=True, environment={}, engine_answers=yes) == (Source.DOCKER, None)


def test_without_an_engine_tests_take_the_embedded_stack() -> None:
    assert choose("kafka", for_tests=True, environment={}, engine_answers=no) == (Source.EMBEDDED, None)


def test_up_and_demo_never_ask_docker_and_read_the_variables_of_the_services() -> None:
    assert choose("kafka", for_tests=False, environment={}, engine_answers=never) == (Source.EMBEDDED, None)
    environment = {"LOSTPHONE_POSTGRES_DSN": "postgresql://there/x", "LOSTPHONE_TEST_POSTGRES": "postgresql://no/x"}
    chosen = choose("postgres", for_tests=False, environment=environment, engine_answers=never)
    assert chosen == (Source.ENVIRONMENT, "postgresql://there/x")


def test_a_property_becomes_the_variable_that_the_image_reads() -> None:
    assert variable("log.dirs") == "KAFKA_LOG_DIRS"
    assert variable("a_b.c-d") == "KAFKA_A__B_C___D"


def test_the_container_gets_the_properties_of_the_embedded_broker_at_its_own_addresses(tmp_path: Path) -> None:
    given = kafka_variables("docker.example", 19999)
    embedded = broker_properties(tmp_path, 1, 2, Plaintext())
    assert set(given) == {variable(name) for name in embedded}
    assert given["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://docker.example:19999"
    assert given["KAFKA_LISTENERS"].startswith("PLAINTEXT://0.0.0.0:9092,")
    different = {"log.dirs", "listeners", "advertised.listeners", "controller.quorum.voters"}
    for name, value in embedded.items():
        assert name in different or given[variable(name)] == value


def test_containers_are_open_to_other_machines_only_when_the_engine_is_on_one() -> None:
    assert published("127.0.0.1", 15555) == ("127.0.0.1", 15555)
    assert published("docker.example", 15555) == 15555
