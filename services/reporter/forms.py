"""Forms as browsers send them, read into the models that the API takes as JSON."""

import re
import types
from datetime import datetime
from typing import Any, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import FormData

_LOCAL = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?$")


async def given(request: Request) -> FormData:
    """The fields of the form."""
    return await request.form(max_fields=200, max_files=0)


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
                values[name] = _at_home(value.strip(), zone)
    return model.model_validate(values | more)


def _at_home(value: str, zone: ZoneInfo) -> str:
    """A time as browsers type it has no offset; it is meant where the company is."""
    return datetime.fromisoformat(value).replace(tzinfo=zone).isoformat() if _LOCAL.match(value) else value


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is list:
        return True
    return origin in (Union, types.UnionType) and any(_is_list(part) for part in get_args(annotation))


def typed(form: FormData) -> dict[str, Any]:
    """What was typed, to show it again."""
    return {name: form.getlist(name) if len(form.getlist(name)) > 1 else form[name] for name in form}
