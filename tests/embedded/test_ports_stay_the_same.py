"""Ports are kept beside the data, and chosen anew only when somebody else took them."""

import socket
from pathlib import Path

import pytest

from lostphone.embedded import EmbeddedError
from lostphone.embedded.ports import RANGE, choose_ports, kept_port, kept_ports


def test_the_same_ports_come_back_and_new_names_are_added(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = kept_ports(file, ["client"])
    both = kept_ports(file, ["client", "controller"])
    assert both["client"] == first["client"] == kept_port(file, "client")
    assert both["controller"] != both["client"]


def test_a_port_that_somebody_took_is_chosen_anew(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    before = kept_ports(file, ["client"])["client"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", before))
        other.listen()
        assert kept_ports(file, ["client"])["client"] != before


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    chosen = choose_ports([str(number) for number in range(50)])
    assert len(set(chosen.values())) == 50
    assert set(chosen.values()) <= set(RANGE)


def test_asking_before_the_first_start_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="Nothing was ever started in"):
        kept_port(tmp_path / "ports.json", "client")
