"""The company's list of phones, as a CSV file: what each row says, and what importing it would change.

Columns are those of `Row`; the header names them, in any order. Nothing is taken from a file with a bad row.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from shared.events.payload import Answer, Code, Ownership

MAX_ROWS = 200_000


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _answer(value: object) -> object:
    return (
        {"": "unknown", "true": "yes", "false": "no"}.get(value.strip().lower(), value)
        if isinstance(value, str)
        else value
    )


def _digits(value: object) -> object:
    return re.sub(r"[\s()-]", "", value) or None if isinstance(value, str) else value


type _Optional[T] = Annotated[T | None, BeforeValidator(_blank_is_none)]
type _Number[T] = Annotated[T | None, BeforeValidator(_digits)]
type _Answer = Annotated[Literal["yes", "no", "unknown"], BeforeValidator(_answer)]
type _Words = Annotated[str, Field(max_length=200)]
type _Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,80}$")]
type _Imei = Annotated[str, Field(pattern=r"^[0-9]{14,16}$")]
type _PhoneNumber = Annotated[str, Field(pattern=r"^\+?[0-9]{8,15}$")]
type _Short = Annotated[str, Field(max_length=40)]


class Row(BaseModel):
    """One phone as the file gives it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    asset_tag: str = Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")
    platform: Code
    model: str = Field(min_length=1, max_length=80)
    colour: _Optional[_Short] = None
    marks: _Optional[_Words] = None
    serial: _Optional[_Id] = None
    imei: _Number[_Imei] = None
    phone_number: _Number[_PhoneNumber] = None
    ownership: Literal["company", "personal"]
    supervised: _Answer = "unknown"
    holder: _Optional[_Words] = Field(None, description="Employee id: the `sub` of the company's identity provider.")
    holder_account: _Optional[_Id] = Field(
        None, description="The holder's user id at the identity provider whose sessions are revoked."
    )
    mdm: _Optional[Code] = None
    udid: _Optional[_Id] = None
    carrier: _Optional[Code] = None
    sim_id: _Optional[_Id] = None
    storage_encrypted: _Answer = "unknown"
    passcode_set: _Answer = "unknown"
    attempts_limited: _Answer = "unknown"
    os_version: _Optional[_Short] = None

    @model_validator(mode="after")
    def _complete(self) -> "Row":
        if (self.mdm is None) != (self.udid is None):
            raise ValueError("mdm and udid belong together")
        if self.carrier is None and self.sim_id is not None:
            raise ValueError("sim_id needs a carrier")
        return self

    def identifiers(self) -> dict[str, str]:
        """What names this very phone or line: kept in the vault, never in an event."""
        named = {"serial": self.serial, "imei": self.imei, "phone_number": self.phone_number, "marks": self.marks}
        return {name: value for name, value in named.items() if value is not None}

    def answer(self, column: Literal["supervised", "storage_encrypted", "passcode_set", "attempts_limited"]) -> Answer:
        value: str = getattr(self, column)
        return Answer(value)

    def owner(self) -> Ownership:
        return Ownership(self.ownership)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be taken, by its line in the file."""

    line: int
    reason: str


@dataclass(frozen=True)
class Sheet:
    """A file read: its good rows and its bad ones."""

    rows: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


_UNIQUE = ("asset_tag", "udid", "serial", "imei", "phone_number", "sim_id")


def read(text: str) -> Sheet:
    """Read a CSV file. Every bad row is named by line and reason; reasons quote no value of the file."""
    sheet = Sheet()
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        problem = _header_problem(header)
        if problem:
            return Sheet(bad=[BadRow(1, problem)])
        seen: dict[tuple[str, str], int] = {}
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if len(sheet.rows) + len(sheet.bad) >= MAX_ROWS:
                sheet.bad.append(BadRow(lines.line_num, f"more than {MAX_ROWS} rows"))
                break
            _take(sheet, header, cells, lines.line_num, seen)
    except csv.Error as error:
        sheet.bad.append(BadRow(lines.line_num, f"not CSV: {error}"))
    return sheet


def _header_problem(header: Sequence[str]) -> str | None:
    if len(set(header)) != len(header):
        return "a column is named twice"
    unknown = [name for name in header if name not in Row.model_fields]
    if unknown:
        return f"unknown columns: {', '.join(sorted(unknown))[:200]}"
    missing = [name for name, column in Row.model_fields.items() if column.is_required() and name not in header]
    return f"missing columns: {', '.join(missing)}" if missing else None


def _take(
    sheet: Sheet, header: Sequence[str], cells: Sequence[str], line: int, seen: dict[tuple[str, str], int]
) -> None:
    if len(cells) != len(header):
        sheet.bad.append(BadRow(line, f"{len(cells)} cells, but the header has {len(header)}"))
        return
    if any("\0" in cell for cell in cells):
        sheet.bad.append(BadRow(line, "a character that cannot be kept"))
        return
    try:
        row = Row.model_validate(dict(zip(header, cells, strict=True)))
    except ValidationError as error:
        sheet.bad.append(BadRow(line, "; ".join(_say(problem["loc"], problem["msg"]) for problem in error.errors())))
        return
    for column in _UNIQUE:
        value = getattr(row, column)
        if value is None:
            continue
        first = seen.setdefault((column, value), line)
        if first != line:
            sheet.bad.append(BadRow(line, f"{column} is the same as in line {first}"))
            return
    sheet.rows.append(row)


def _say(location: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{location[0]}: {message}" if location else message


@dataclass(frozen=True)
class Change:
    """What an import does to one phone that is known already."""

    asset_tag: str
    columns: list[str]


@dataclass(frozen=True)
class Changes:
    """What importing a file does to the inventory."""

    added: list[str]
    changed: list[Change]
    unchanged: list[str]
    missing: list[str]


def compare(file: Mapping[str, Mapping[str, object]], known: Mapping[str, Mapping[str, object]]) -> Changes:
    """Lay the facts in the file over those that are known; both by asset tag."""
    changed = [
        Change(tag, columns) for tag, facts in file.items() if tag in known and (columns := _differ(facts, known[tag]))
    ]
    touched = {change.asset_tag for change in changed}
    return Changes(
        added=[tag for tag in file if tag not in known],
        changed=changed,
        unchanged=[tag for tag in file if tag in known and tag not in touched],
        missing=[tag for tag in known if tag not in file],
    )


def _differ(new: Mapping[str, object], old: Mapping[str, object]) -> list[str]:
    return [name for name in _ordered({*new, *old}) if new.get(name) != old.get(name)]


def _ordered(names: Iterable[str]) -> list[str]:
    columns = list(Row.model_fields)
    return sorted(names, key=lambda name: (columns.index(name) if name in columns else len(columns), name))
