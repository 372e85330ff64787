"""Ports are kept beside the data, chosen anew only when somebody else took them, and never chosen by two."""

from pathlib import Path

import pytest

from lostphone.embedded import EmbeddedError
from lostphone.embedded.ports import RANGE, Claims, kept_port, kept_ports
from tests.stack.ports import somebody_at


def test_the_same_ports_come_back_and_new_names_are_added(tmp_path: Path) -> None:
    file, claims = tmp_path / "ports.json", Claims()
    first = kept_ports(file, ["client"], claims)
    both = kept_ports(file, ["client", "controller"], claims)
    assert both["client"] == first["client"] == kept_port(file, "client")
    assert both["controller"] != both["client"]


def test_a_port_that_somebody_took_before_the_start_is_chosen_anew(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    before = kept_ports(file, ["client"], Claims())["client"]
    with somebody_at(before):
        assert kept_ports(file, ["client"], Claims())["client"] != before


def test_a_port_that_others_were_told_is_not_exchanged_for_another(tmp_path: Path) -> None:
    file, claims = tmp_path / "ports.json", Claims()
    before = kept_ports(file, ["client"], claims)["client"]
    with somebody_at(before), pytest.raises(EmbeddedError, match=f"Port {before} was taken by another program"):
        kept_ports(file, ["client"], claims)
    assert kept_ports(file, ["client"], claims)["client"] == before


def test_two_that_choose_before_either_has_bound_a_port_do_not_choose_the_same() -> None:
    few = RANGE[-60:]
    one, other = Claims(few), Claims(few)
    names = [str(number) for number in range(20)]
    chosen = [*one.settle({}, names).values(), *other.settle({}, names).values()]
    assert len(set(chosen)) == 40
    assert set(chosen) <= set(few)


def test_a_port_that_another_holds_is_not_kept_until_it_lets_go() -> None:
    one, other = Claims(), Claims()
    ports = one.settle({}, ["client"])
    assert other.settle(ports, ["client"]) != ports
    one.release()
    assert other.settle(ports, ["client"]) == ports


def test_where_no_port_is_left_one_sentence_says_so() -> None:
    with pytest.raises(EmbeddedError, match=r"No port between \d+ and \d+ is free"):
        Claims(RANGE[-3:]).settle({}, ["one", "two", "three", "four"])


def test_asking_before_the_first_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="Nothing was ever started in"):
        kept_port(tmp_path / "ports.json", "client")
