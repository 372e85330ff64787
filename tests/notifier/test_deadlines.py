"""How time limits are counted, against worked examples and against chance."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.domain.deadline import Deadline, last_call
from services.notifier.rulebook import calendar

JST = ZoneInfo("Asia/Tokyo")
JP = calendar("JP", "Asia/Tokyo")
DAY_3 = Deadline(count=3, unit="calendar_days", counting="day1_inclusive")
DAY_5 = Deadline(count=5, unit="calendar_days", counting="day1_inclusive")
FINAL_30 = Deadline(count=30, unit="calendar_days", counting="day1_inclusive", roll="next_business_day")
FINAL_60 = Deadline(count=60, unit="calendar_days", counting="day1_inclusive", roll="next_business_day")


@pytest.mark.parametrize(
    ("known", "soft", "hard", "final", "due"),
    [
        pytest.param("2026-12-01", "2026-12-03", "2026-12-05", FINAL_30, "2027-01-04", id="V1 over the year end"),
        pytest.param("2026-12-01", "2026-12-03", "2026-12-05", FINAL_60, "2027-01-29", id="V2 theft"),
        pytest.param("2027-02-12", "2027-02-14", "2027-02-16", FINAL_30, "2027-03-15", id="V3 ends on a Saturday"),
        pytest.param("2027-01-15", "2027-01-17", "2027-01-19", FINAL_60, "2027-03-15", id="V4 theft learned later"),
        pytest.param("2026-11-24", "2026-11-26", "2026-11-28", FINAL_30, "2026-12-23", id="V5 plain"),
        pytest.param("2027-01-29", "2027-01-31", "2027-02-02", FINAL_30, "2027-03-01", id="V6 ends on a Saturday"),
    ],
)
def test_japanese_deadlines_follow_the_worked_examples(
    known: str, soft: str, hard: str, final: Deadline, due: str
) -> None:
    at = datetime.fromisoformat(f"{known}T15:00:00+09:00")
    days = [limit.due(at, JP).date().isoformat() for limit in (DAY_3, DAY_5, final)]
    assert days == [soft, hard, due]


def test_a_deadline_on_a_saturday_gets_a_last_call_on_friday_at_five() -> None:
    known = datetime(2026, 12, 1, 9, tzinfo=JST)
    assert last_call(known, DAY_5.due(known, JP), JP) == datetime(2026, 12, 4, 17, tzinfo=JST)


def test_a_deadline_on_an_open_day_needs_no_last_call() -> None:
    known = datetime(2026, 11, 24, 9, tzinfo=JST)
    assert last_call(known, FINAL_30.due(known, JP), JP) is None


@pytest.mark.parametrize(("hour", "call"), [(12, datetime(2026, 12, 4, 17, tzinfo=JST)), (23, None)])
def test_what_is_known_after_the_offices_closed_gets_no_last_call_for_the_day_after(
    hour: int, call: datetime | None
) -> None:
    known = datetime(2026, 12, 4, hour, 40, tzinfo=JST)
    assert last_call(known, Deadline(count=24, unit="hours").due(known, JP), JP) == call


@pytest.mark.parametrize(
    ("limit", "country", "zone", "known", "due"),
    [
        pytest.param(
            Deadline(count=72, unit="hours"), "DE", "UTC", "2027-03-26T16:00:00+00:00", "2027-03-29T16:00:00+00:00",
            id="V7 72 hours do not roll",
        ),
        pytest.param(
            Deadline(count=4, unit="business_days"), "US", "America/New_York", "2026-11-25T12:00:00-05:00",
            "2026-12-02T23:59:59-05:00", id="V8 business days skip Thanksgiving",
        ),
        pytest.param(
            Deadline(count=3, unit="calendar_days"), "SG", "Asia/Singapore", "2026-11-25T12:00:00+08:00",
            "2026-11-28T23:59:59+08:00", id="V9 three days",
        ),
        pytest.param(
            Deadline(count=60, unit="calendar_days"), "US", "America/New_York", "2026-11-25T12:00:00-05:00",
            "2027-01-24T23:59:59-05:00", id="V10 sixty days",
        ),
    ],
)  # fmt: skip
def test_other_jurisdictions_follow_their_worked_examples(
    limit: Deadline, country: str, zone: str, known: str, due: str
) -> None:
    assert limit.due(datetime.fromisoformat(known), calendar(country, zone)) == datetime.fromisoformat(due)


moments = st.integers(1_704_000_000, 1_893_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
limits = st.sampled_from([DAY_3, DAY_5, FINAL_30, FINAL_60, Deadline(count=4, unit="business_days")])


@given(st.dates(min_value=date(2024, 1, 1), max_value=date(2029, 12, 31)))
def test_one_minute_before_and_one_after_midnight_in_tokyo_are_two_days(day: date) -> None:
    midnight = datetime.combine(day, datetime.min.time(), JST)
    before, after = midnight - timedelta(minutes=1), midnight + timedelta(minutes=1)
    assert DAY_5.due(after, JP).date() - DAY_5.due(before, JP).date() == timedelta(days=1)


@given(moments, moments, limits)
def test_knowing_later_never_brings_a_deadline_forward(one: datetime, other: datetime, limit: Deadline) -> None:
    early, late = sorted((one, other))
    assert limit.due(early, JP) <= limit.due(late, JP)


@given(moments, limits)
def test_the_zone_in_which_the_moment_is_written_changes_nothing(moment: datetime, limit: Deadline) -> None:
    elsewhere = moment.astimezone(ZoneInfo("America/New_York"))
    assert limit.due(moment, JP) == limit.due(elsewhere, JP)


@given(moments)
def test_a_rolled_deadline_falls_on_an_open_day(moment: datetime) -> None:
    assert not JP.closed(FINAL_30.due(moment, JP).date())
