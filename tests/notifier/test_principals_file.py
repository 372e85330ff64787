"""The list of people concerned, as people upload it."""

import pytest

from services.notifier.domain.principals import PrincipalFileError, RowError, parse
from services.notifier.refusals import problem

LINE_USER = "U" + "0123456789abcdef" * 2


def test_people_with_mail_or_line_are_read() -> None:
    content = f"\ufeffname,mail,line_user_id\n佐藤 花子,hanako@example.jp,\n鈴木 一郎,,{LINE_USER}\n"
    people = parse(content.encode()).people
    assert [person.values() for person in people] == [
        {"name": "佐藤 花子", "mail": "hanako@example.jp"},
        {"name": "鈴木 一郎", "line_user_id": LINE_USER},
    ]


def test_a_person_who_stands_twice_is_told_once() -> None:
    found = parse(b"name,mail\nA,a@example.jp\nA,A@example.jp\n")
    assert (len(found.people), found.duplicates) == (1, 1)


def test_rows_that_cannot_be_used_are_named_without_their_content() -> None:
    found = parse(b"name,mail,line_user_id\n,a@example.jp,\nB,,\nC,not-a-mail,\nD,,U1\nE,e@example.jp,,,\n")
    assert found.errors == [
        RowError(2, "name_missing_or_too_long"),
        RowError(3, "no_way_to_reach"),
        RowError(4, "mail_malformed"),
        RowError(5, "line_user_id_malformed"),
        RowError(6, "too_many_columns"),
    ]


def test_an_address_cannot_carry_a_second_header_or_recipient() -> None:
    found = parse(b'name,mail\nA,"a@example.jp\nBcc: x@example.jp"\nB,"a@example.jp,b@example.jp"\n')
    assert [error.code for error in found.errors] == ["mail_malformed", "mail_malformed"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "file_columns_differ"),
        ("name,mail\n佐藤,a@b.c\n".encode("shift_jis"), "file_not_utf8"),
        (b"who,mail\nA,a@b.c\n", "file_columns_differ"),
        (b"name\nA\n", "file_columns_differ"),
        (b'name,mail\n"A,a@b.c\n', "file_not_csv"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole_and_says_why_in_both_languages(content: bytes, why: str) -> None:
    with pytest.raises(PrincipalFileError) as refused:
        parse(content)
    assert str(refused.value) == why
    assert all(problem(why).words)
