"""The list of people concerned, as a CSV file: name, mail, line_user_id."""

import csv
import io
import re
from dataclasses import dataclass

MAX_ROWS = 50_000
_COLUMNS = ("name", "mail", "line_user_id")
_MAIL = re.compile(r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,188}[A-Za-z0-9])?$")
_LINE_USER = re.compile(r"^U[0-9a-f]{32}$")


class PrincipalFileError(ValueError):
    """The file as a whole cannot be read; a code says why."""


@dataclass(frozen=True)
class Principal:
    """One person and the ways to reach them."""

    name: str
    mail: str | None
    line_user_id: str | None

    @property
    def address(self) -> str:
        """What tells this person from another in the same list."""
        return address_of(self.mail, self.line_user_id)

    def values(self) -> dict[str, str]:
        """What the vault keeps."""
        fields = {"name": self.name, "mail": self.mail, "line_user_id": self.line_user_id}
        return {name: value for name, value in fields.items() if value}


def address_of(mail: str | None, line_user_id: str | None) -> str:
    """The mail address, however it is written; the LINE id of who has none."""
    return f"mail:{mail.lower()}" if mail else f"line:{line_user_id}"


@dataclass(frozen=True)
class RowError:
    """A row that cannot be used. The row's content is not repeated."""

    row: int
    code: str


@dataclass(frozen=True)
class PrincipalFile:
    """What a file holds."""

    people: list[Principal]
    errors: list[RowError]
    duplicates: int


def parse(content: bytes) -> PrincipalFile:
    """Read the file. Raises PrincipalFileError; what is wrong with single rows is in `errors`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PrincipalFileError("file_not_utf8") from None
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = [name.strip() for name in reader.fieldnames or []]
        if not set(columns) <= set(_COLUMNS) or "name" not in columns or len(columns) < 2:
            raise PrincipalFileError("file_columns_differ")
        reader.fieldnames = columns
        return _rows(reader)
    except csv.Error:
        raise PrincipalFileError("file_not_csv") from None


def _rows(reader: "csv.DictReader[str]") -> PrincipalFile:
    people: dict[str, Principal] = {}
    errors: list[RowError] = []
    duplicates = 0
    for number, row in enumerate(reader, 2):
        if number > MAX_ROWS + 1:
            raise PrincipalFileError("file_too_long")
        person = _person(row)
        if isinstance(person, str):
            errors.append(RowError(number, person))
        elif person.address in people:
            duplicates += 1
        else:
            people[person.address] = person
    return PrincipalFile(list(people.values()), errors, duplicates)


def _person(row: dict[str, str | None]) -> Principal | str:
    if None in row:
        return "too_many_columns"
    values = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    mail, line_user = values["mail"], values["line_user_id"]
    if not values["name"] or len(values["name"]) > 200:
        return "name_missing_or_too_long"
    if not mail and not line_user:
        return "no_way_to_reach"
    if mail and not _MAIL.match(mail):
        return "mail_malformed"
    if line_user and not _LINE_USER.match(line_user):
        return "line_user_id_malformed"
    return Principal(values["name"], mail or None, line_user or None)
