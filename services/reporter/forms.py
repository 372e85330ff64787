"""Forms as browsers send them, read into the models that the API takes as JSON."""

import re
import types
from collections.abc import Hashable
from datetime import datetime
from typing import Any, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData

from shared.web import MAX_FIELDS, must_be_usable

_LOCAL = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$")


async def given(request: Request) -> FormData:
    """The fields of the form. Raises `Problem` 422 for text that cannot be kept."""
    form = await request.form(max_fields=MAX_FIELDS, max_files=0)
    must_be_usable(dict(form.multi_items()))
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


def typed(form: FormData) -> dict[str, Any]:
    """What was typed, to show it again."""
    return {name: form.getlist(name) if len(form.getlist(name)) > 1 else form[name] for name in form}
