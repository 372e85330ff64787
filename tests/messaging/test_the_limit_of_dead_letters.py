"""So many records that cannot be handled are no bad records: the deployment is bad."""

import pytest

from shared.messaging.dead_letter import ParkingLimit, TooManyDeadLettersError


def _park(limit: ParkingLimit) -> None:
    limit.must_allow_one()
    limit.parked()


def test_a_row_of_them_is_too_many_and_one_that_goes_well_ends_the_row() -> None:
    limit = ParkingLimit(in_a_row=2)
    for _ in range(3):
        _park(limit)
        _park(limit)
        limit.handled(1)
    _park(limit)
    _park(limit)
    with pytest.raises(TooManyDeadLettersError, match="2 records in a row"):
        limit.must_allow_one()


def test_a_share_of_the_last_is_too_many_though_none_follows_another() -> None:
    limit = ParkingLimit(in_a_row=2, share=0.1, of_the_last=100, at_least=5)
    for _ in range(4):
        _park(limit)
        limit.handled(1)
    with pytest.raises(TooManyDeadLettersError, match="4 of the last 8"):
        limit.must_allow_one()
    limit.handled(60)
    _park(limit)


def test_what_was_long_ago_counts_no_more() -> None:
    limit = ParkingLimit(in_a_row=10, share=0.1, of_the_last=20, at_least=2)
    _park(limit)
    limit.handled(20)
    _park(limit)
