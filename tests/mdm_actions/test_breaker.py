"""The breaker opens when wipes look like an attack and not like lost phones."""

from datetime import UTC, datetime, timedelta

from services.mdm_actions.domain.breaker import PastWipe, Reset, judge
from services.mdm_actions.domain.playbook import BreakerRule

_NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
_RULE = BreakerRule(
    wipes_per_window=3,
    window_minutes=10,
    wipes_per_approver=4,
    approver_window_hours=24,
    fleet_share_percent=1.0,
    fleet_window_hours=24,
    fleet_minimum=2,
)


def _past(count: int, minutes_ago: int, *people: str) -> list[PastWipe]:
    return [PastWipe(_NOW - timedelta(minutes=minutes_ago), people or (f"p{n}",)) for n in range(count)]


def test_wipes_up_to_the_limit_pass_and_one_more_trips() -> None:
    assert judge(_RULE, _past(2, 5), ["a", "b"], 10_000, _NOW) is None
    trip = judge(_RULE, _past(3, 5), ["a", "b"], 10_000, _NOW)
    assert trip is not None
    assert (trip.reason, trip.count, trip.limit) == ("wipes_per_window", 4, 3)


def test_wipes_outside_the_window_do_not_count() -> None:
    assert judge(_RULE, _past(3, 11), ["a", "b"], 10_000, _NOW) is None


def test_one_approver_who_signs_too_much_trips_it() -> None:
    trip = judge(_RULE, _past(4, 60, "a", "x"), ["b", "a"], 10_000, _NOW)
    assert trip is not None
    assert trip.reason == "wipes_per_approver"
    assert judge(_RULE, _past(4, 60, "a", "x"), ["b", "c"], 10_000, _NOW) is None


def test_a_share_of_the_fleet_trips_it_but_a_small_fleet_may_lose_the_minimum() -> None:
    trip = judge(_RULE, _past(2, 60), ["a", "b"], 50, _NOW)
    assert trip is not None
    assert (trip.reason, trip.limit) == ("share_of_fleet", 2)
    assert judge(_RULE, _past(1, 60), ["a", "b"], 50, _NOW) is None
    assert judge(_RULE, _past(2, 60), ["a", "b"], 300, _NOW) is None


def test_a_reset_takes_two_different_people() -> None:
    once = Reset(()).with_person("a")
    assert not once.complete
    assert not once.with_person("a").complete
    assert once.with_person("b").complete
