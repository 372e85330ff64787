"""Where broker and database come from: one rule, in one place.

The address in the environment; else, for tests, Docker when an engine answers; else the embedded ones.
"""

import functools
import gc
import os
import warnings
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import ModuleType
from typing import Final, Literal


class Source(StrEnum):
    """Who runs the broker or the database."""

    ENVIRONMENT = "environment"
    DOCKER = "docker"
    EMBEDDED = "embedded"


type Part = Literal["kafka", "postgres"]

VARIABLES: Final[Mapping[tuple[Part, bool], str]] = {
    ("kafka", True): "LOSTPHONE_TEST_KAFKA",
    ("postgres", True): "LOSTPHONE_TEST_POSTGRES",
    ("kafka", False): "LOSTPHONE_KAFKA_BOOTSTRAP",
    ("postgres", False): "LOSTPHONE_POSTGRES_DSN",
}
"""Part and whether it is for tests → the variable with its address. `up` and `demo` read those of the services."""


def choose(
    part: Part,
    *,
    for_tests: bool,
    environment: Mapping[str, str] = os.environ,
    engine_answers: Callable[[], bool] | None = None,
) -> tuple[Source, str | None]:
    """The source of a part, with the address when the environment names one.

    Docker is asked only for tests, and only when the environment says nothing: `up` and `demo` must do the same
    on every machine.
    """
    if address := environment.get(VARIABLES[part, for_tests]):
        return Source.ENVIRONMENT, address
    if for_tests and (engine_answers or docker_engine_answers)():
        return Source.DOCKER, None
    return Source.EMBEDDED, None


@functools.cache
def docker_engine_answers() -> bool:
    """Whether an engine answers; that its client is installed says nothing. Takes half a second when none does."""
    try:
        import docker  # noqa: PLC0415 - comes with testcontainers, which only the tests install
    except ImportError:
        return False
    with warnings.catch_warnings():
        # Where no engine answers, the client forgets its socket, open; the collector finds it here and nowhere else.
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _ping(docker)
        gc.collect()
    return answers


def _ping(docker: ModuleType) -> bool:
    try:
        docker.from_env(timeout=5).ping()
    except (docker.errors.DockerException, OSError):
        return False
    return True
