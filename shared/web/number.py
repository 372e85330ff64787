"""Whole numbers in an address, as digits and nothing else: pydantic by itself takes `1.0` and `1_000` for numbers, too,
which no OpenAPI document says."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def _digits(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdigit()):
        raise PydanticCustomError("int_parsing", "must be a whole number")
    return value


type Number = Annotated[int, BeforeValidator(_digits)]
