"""Reading the company's list of phones: bad rows are named, and an import says what it would do."""

from services.mdm_actions.domain.inventory import BadRow, Change, compare, read
from shared.events.payload import Answer

_HEADER = "asset_tag,platform,model,serial,imei,phone_number,ownership,supervised,mdm,udid,carrier,sim_id"
_GOOD = "A-1,ios,iPhone 16,F2L,356938035643809,+81 90-1234-5678,company,yes,nanomdm,UDID-1,soracom,8981100000000000001"


def test_a_good_row_is_read_with_its_numbers_tidied() -> None:
    sheet = read(f"\ufeff{_HEADER}\r\n{_GOOD}\r\n\r\n")
    assert sheet.bad == []
    (row,) = sheet.rows
    assert row.phone_number == "+819012345678"
    assert row.answer("supervised") is Answer.YES
    assert row.answer("passcode_set") is Answer.UNKNOWN
    assert set(row.identifiers()) == {"serial", "imei", "phone_number"}


def test_each_bad_row_is_named_by_line_and_reason_without_quoting_it() -> None:
    bad = [
        "A-2,ios,iPhone 16,,12,,company,yes,,,,",
        "A-3,ios,iPhone 16,,,,borrowed,yes,,,,",
        "A-4,ios",
        "A-5,ios,iPhone 16,,,,company,yes,nanomdm,,,",
        "A-1,ios,iPhone 16,,,,company,yes,,,,",
        "A-6,ios,iPhone 16,,,,company,yes,nanomdm,UDID-1,,",
    ]
    sheet = read("\n".join([_HEADER, _GOOD, *bad]))
    assert [row.asset_tag for row in sheet.rows] == ["A-1"]
    assert [bad.line for bad in sheet.bad] == [3, 4, 5, 6, 7, 8]
    reasons = [bad.reason for bad in sheet.bad]
    assert reasons[0].startswith("imei: ")
    assert reasons[1].startswith("ownership: ")
    assert reasons[2] == "2 cells, but the header has 12"
    assert reasons[3] == "mdm and udid belong together"
    assert reasons[4] == "asset_tag is the same as in line 2"
    assert reasons[5] == "udid is the same as in line 2"
    assert not any("borrowed" in reason for reason in reasons)


def test_a_row_that_no_database_holds_is_a_bad_one() -> None:
    sheet = read("\n".join([_HEADER, _GOOD, "A-2,ios,iPhone\0 16,,,,company,yes,,,,"]))
    assert sheet.bad == [BadRow(3, "a character that cannot be kept")]
    assert [row.asset_tag for row in sheet.rows] == ["A-1"]


def test_a_header_that_misses_a_column_or_invents_one_stops_the_whole_file() -> None:
    assert read("asset_tag,platform,model\n").bad == [BadRow(1, "missing columns: ownership")]
    assert read(f"{_HEADER},owner\n").bad == [BadRow(1, "unknown columns: owner")]
    assert read(f"{_HEADER},model\n").bad == [BadRow(1, "a column is named twice")]
    assert read("").bad[0].line == 1


def test_laying_a_file_over_the_inventory_says_what_would_change() -> None:
    known = {
        "A-1": {"model": "iPhone 15", "holder": "p1"},
        "A-2": {"model": "iPhone 16"},
        "A-3": {"model": "iPhone 16"},
    }
    file = {"A-1": {"model": "iPhone 16", "holder": "p2"}, "A-2": {"model": "iPhone 16"}, "A-4": {"model": "iPhone 16"}}
    changes = compare(file, known)
    assert changes.added == ["A-4"]
    assert changes.changed == [Change("A-1", ["model", "holder"])]
    assert changes.unchanged == ["A-2"]
    assert changes.missing == ["A-3"]
