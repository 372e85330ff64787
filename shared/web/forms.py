"""Forms as browsers send them, read into the models that the API takes as JSON."""

import re
import types
from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import Any, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData

from shared.web.csrf import MAX_FIELDS, MAX_FILES
from shared.web.language import language
from shared.web.problem import Field, Problem, invalid, refused_fields
from shared.web.text import fields_must_be_usable

_LOCAL = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$")


async def given(request: Request, *, with_file: bool = False) -> FormData:
    """The fields of the form, and its file when the page takes one: who takes it closes the form. Raises `Problem` 422
    for text that cannot be kept."""
    form = await request.form(max_fields=MAX_FIELDS, max_files=MAX_FILES if with_file else 0)
    if not with_file:
        await form.close()
    try:
        fields_must_be_usable(form.multi_items())
    except Problem:
        await form.close()
        raise
    return form


def read[M: BaseModel](form: FormData, model: type[M], zone: ZoneInfo, **more: Any) -> M:
    """A model from the fields of a form; what was left blank was not given. Raises `pydantic.ValidationError`."""
    values: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if _is_list(field.annotation):
            listed = [value for value in form.getlist(name) if isinstance(value, str) and value]
            if listed:
                values[name] = listed
        else:
            value = form.get(name)
            if isinstance(value, str) and value.strip():
                values[name] = _meant(value.strip(), field.annotation, zone)
    return model.model_validate(values | more)


def _meant(value: str, annotation: Any, zone: ZoneInfo) -> Any:
    """What a browser sends as text, as the number or yes that it stands for."""
    wanted = _types(annotation)
    if bool in wanted and value in ("true", "on"):
        return True
    if int in wanted and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return _at_home(value, zone)


def _types(annotation: Any) -> set[Any]:
    return {annotation}.union(*(_types(part) for part in get_args(annotation) if isinstance(part, Hashable)))


def _at_home(value: str, zone: ZoneInfo) -> str:
    """A time as browsers type it has no offset; it is meant where the company is."""
    try:
        return datetime.fromisoformat(value).replace(tzinfo=zone).isoformat() if _LOCAL.match(value) else value
    except ValueError:
        return value  # such as the 31st of February: the model says so


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is list:
        return True
    return origin in (Union, types.UnionType) and any(_is_list(part) for part in get_args(annotation))


def nested(form: FormData) -> dict[str, Any]:
    """The fields by their dotted names: `desk.name.ja` is the `ja` of `name` of `desk`, `desk.languages[]` one of a
    list. What was left blank was not given."""
    found: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, str) and value.strip():
            *path, last = name.split(".")
            place = found
            for part in path:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise invalid([Field(name, "unknown_field", "この項目は受け付けません", "is not a known field")])
            if last.endswith("[]"):
                place.setdefault(last.removesuffix("[]"), []).append(value.strip())
            else:
                place[last] = value.strip()
    return found


def flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, str | list[str]]:
    """The fields of a form that `nested` would read as this document."""
    found: dict[str, str | list[str]] = {}
    for name, value in document.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found[f"{prefix}{name}[]"] = value
        elif value is not None:
            found[f"{prefix}{name}"] = str(value)
    return found


def said(request: Request, error: ValidationError | Problem) -> tuple[dict[str, Any], int]:
    """Why a form was not taken, for the page that shows it again, and the status of that answer: `code` with `fields`
    (`Field`) or with `detail` in the reader's language and the problem's own members."""
    if isinstance(error, Problem):
        return {"code": error.code, "detail": error.detail(language(request)), **error.extra}, error.status
    return {"code": "check_fields", "fields": refused_fields(error)}, 422


def typed(form: FormData) -> dict[str, Any]:
    """What was typed, to show it again."""
    return {name: form.getlist(name) if len(form.getlist(name)) > 1 else form[name] for name in form}
