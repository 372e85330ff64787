"""Text that PostgreSQL and JSON can hold: no NUL character, no half of a surrogate pair, no bottomless nesting."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from fastapi import Request, params
from fastapi.routing import APIRoute

from shared.web.problem import Field, invalid

_MAX_DEPTH = 32


async def usable_text(request: Request) -> None:
    """The dependency that `create_app` puts before every route. Answers 422 with the place of what cannot be kept.

    A body is looked at where the framework has read it: as JSON, or as a form. Who reads a body by hand says so with
    `must_be_usable`.
    """
    fields_must_be_usable([*request.path_params.items(), *request.query_params.multi_items()])
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or route.body_field is None:
        return
    if isinstance(route.body_field.field_info, params.Form):
        fields_must_be_usable((await request.form()).multi_items())
    else:
        with suppress(ValueError, RecursionError):  # what is no JSON, the framework refuses
            must_be_usable(await request.json())


def must_be_usable(value: Any) -> None:
    """Raises `Problem` 422 that names each part of the value that cannot be kept."""
    _refuse(_in("", value))


def fields_must_be_usable(fields: Iterable[tuple[str, Any]]) -> None:
    """The same for the fields of a form or query, in which a name may come more than once."""
    _refuse(found for name, value in fields for found in _in("", {name: value}))


def _refuse(found: Iterator[Field]) -> None:
    fields = list(islice(found, 50))
    if fields:
        raise invalid(fields)


def _in(place: str, value: Any, depth: int = 0) -> Iterator[Field]:
    if isinstance(value, str):
        if not _usable(value):
            yield Field(
                place or "body", "text_unusable", "使えない文字があります", "has a character that cannot be kept"
            )
    elif depth >= _MAX_DEPTH:
        yield Field(place or "body", "nested_too_deeply", "入れ子が深すぎます", "is nested too deeply")
    elif isinstance(value, dict):
        for name, item in value.items():
            if not _usable(name):
                yield from _in(place, name, depth)
            else:
                yield from _in(f"{place}.{name}" if place else name, item, depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _in(f"{place}.{number}" if place else str(number), item, depth + 1)


def _usable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
