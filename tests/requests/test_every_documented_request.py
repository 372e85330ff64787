"""Each operation of each service's OpenAPI document, as each role and as nobody: answers are as documented, and no 5xx.

`LOSTPHONE_FUZZ_EXAMPLES` is how many requests each operation gets from a person with every role (`make fuzz`: 300);
with it unset, requests are few and the same on every run.
"""

import asyncio
import os
import random
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from tests.requests.running import ROLES, SERVICES, World
from tests.requests.story import Known

_WANTED = os.environ.get("LOSTPHONE_FUZZ_EXAMPLES")
_MANY = int(_WANTED or 6)
_FEW = max(1, _MANY // 10)
_REFUSES_WRONG = checks.negative_data_rejection
_CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    _REFUSES_WRONG,
    checks.unsupported_method,
]


@pytest.mark.timeout(3600 if _WANTED else 120)
@pytest.mark.parametrize("role", ["everything", *(role for role in ROLES if role != "everything"), None])
@pytest.mark.parametrize("service", SERVICES)
async def test_answers_are_as_documented(world: World, known: Known, service: str, role: str | None) -> None:
    url, headers = world.services[service].url, await world.headers(role)
    examples = _MANY if role == "everything" else _FEW
    found = await asyncio.to_thread(_try_all, url, headers, known, examples)
    assert not found, "\n\n".join(found[:8])
    await world.tell()


@pytest.mark.parametrize("service", SERVICES)
async def test_what_stands_in_a_path_is_documented(world: World, service: str) -> None:
    document = (await world.http.get(f"{world.services[service].url}/openapi.json")).json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            told = {given["name"] for given in operation.get("parameters", []) if given["in"] == "path"}
            assert told == set(re.findall(r"{(\w+)}", path)), path


def _try_all(url: str, headers: dict[str, str], known: Known, examples: int) -> list[str]:
    """What is wrong, one text for each operation that does not keep its promise."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found = []
    for result in schema.get_all_operations():
        try:
            _try_one(result.ok(), url, headers, known, examples)
        except AssertionError as error:
            found.append(_said(result.ok().label, error))
        except BaseExceptionGroup as group:
            found.extend(_said(result.ok().label, error) for error in group.exceptions)
    return found


def _right_or_wrong(operation: Any) -> SearchStrategy[Any]:
    """Requests as documented and, where the document leaves something to get wrong, requests that are not."""
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not operation.body and not operation.query and not operation.headers:
        return right
    return right | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)


def _stripped(body: Any) -> Any:
    """The body as the services read it: white space at the ends of a text is nothing that anybody said."""
    if isinstance(body, dict):
        return {name: _stripped(value) for name, value in body.items()}
    if isinstance(body, list):
        return [_stripped(value) for value in body]
    return body.strip() if isinstance(body, str) else body


def _said(label: str, error: BaseException) -> str:
    """The failure in words, with the request that brought it about."""
    inner = [_said(label, one) for one in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    return "\n".join([f"{label}: {error} {getattr(error, 'message', '')}", *inner, *getattr(error, "__notes__", [])])


def _try_one(operation: Any, url: str, headers: dict[str, str], known: Known, examples: int) -> None:
    chance = random.Random(f"{operation.method} {operation.path}")

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=_WANTED is None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_right_or_wrong(operation))
    def attempt(case: Any) -> None:
        if chance.random() < 0.7:
            known.point(case, chance)
        answer = case.call(base_url=url, headers=headers, timeout=30)
        # A text may be too long by the white space at its ends alone, which no JSON Schema can say.
        checked = (
            _CHECKS if _stripped(case.body) == case.body else [one for one in _CHECKS if one is not _REFUSES_WRONG]
        )
        case.validate_response(answer, checks=checked)

    attempt()
