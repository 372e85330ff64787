"""An installation is made once; opening it again changes nothing, and its secrets are its owner's only."""

import socket
import stat
from pathlib import Path

import pytest

from lostphone import running
from lostphone.approvers import make_sandbox_approvers
from lostphone.embedded.ports import Claims
from lostphone.installation import SERVICES, Installation
from lostphone.screen import CouldNotError
from lostphone.sources import Source
from services.mdm_actions.approvers import read as read_approvers
from shared.events import KeyRing, Signer


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_opening_it_again_changes_nothing(tmp_path: Path) -> None:
    first = Installation.open(tmp_path / "data")
    made = contents(tmp_path / "data")
    assert Installation.open(tmp_path / "data") == first
    assert contents(tmp_path / "data") == made


def test_private_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    data = Installation.open(tmp_path / "data").data_dir
    keys = list((data / "keys").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in [data / "keys", *keys] if path.is_dir()} == {0o700}
    assert stat.S_IMODE((data / "installation.json").stat().st_mode) == 0o600


def test_every_service_signs_under_a_key_that_everyone_can_check(tmp_path: Path) -> None:
    installation = Installation.open(tmp_path / "data")
    keyring = KeyRing(installation.event_keys_file)
    for service in SERVICES:
        signer = Signer.from_pem(service, installation.key_file(service, "event-signing.pem"))
        known = keyring.find(signer.keyid)
        assert known is not None
        assert known.service == service


def test_a_port_that_somebody_took_meanwhile_is_chosen_anew_and_the_others_stay(tmp_path: Path) -> None:
    before = Installation.open(tmp_path / "data", claims=Claims()).ports
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", before["reporter"]))
        taken.listen()
        assert Installation.open(tmp_path / "data").ports == before  # nobody starts it
        after = Installation.open(tmp_path / "data", claims=Claims()).ports
    assert after["reporter"] != before["reporter"]
    assert {name: port for name, port in after.items() if name != "reporter"} == {
        name: port for name, port in before.items() if name != "reporter"
    }
    assert len(set(after.values())) == len(after)


def test_an_installation_stays_with_the_broker_and_database_that_hold_its_data(tmp_path: Path) -> None:
    there = {"kafka": Source.ENVIRONMENT, "postgres": Source.EMBEDDED}
    assert Installation.open(tmp_path / "named", sources=there).sources == there
    with pytest.raises(CouldNotError, match="LOSTPHONE_KAFKA_BOOTSTRAP named"):
        Installation.open(tmp_path / "named")
    assert Installation.open(tmp_path / "named", sources=there).sources == there
    own = Installation.open(tmp_path / "own")
    (own.data_dir / "kafka" / "data").mkdir()
    with pytest.raises(CouldNotError, match="a kafka of its own"):
        Installation.open(own.data_dir, sources=there)


def test_a_policy_that_somebody_made_their_own_is_kept(tmp_path: Path) -> None:
    file = Installation.open(tmp_path / "data").log_policy_file
    ours, _, rest = file.read_text().partition("\n")
    file.write_text(f"{ours}\nquorum none\n")
    assert Installation.open(tmp_path / "data").log_policy_file.read_text() == f"{ours}\n{rest}"
    file.write_text(f"{rest}witness other …\n")
    assert Installation.open(tmp_path / "data").log_policy_file.read_text() == f"{rest}witness other …\n"


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CouldNotError, match="not an installation"):
        Installation.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_erasing_takes_an_installation_and_nothing_else(tmp_path: Path) -> None:
    installation = Installation.open(tmp_path / "data")
    running.erase(installation.data_dir)
    assert not installation.data_dir.exists()
    running.erase(installation.data_dir)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CouldNotError, match="nothing there is removed"):
        running.erase(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_approvers_file_names_those_whose_role_signs_wipes(tmp_path: Path) -> None:
    installation = Installation.open(tmp_path / "data")
    make_sandbox_approvers(installation)
    make_sandbox_approvers(installation)
    approvers = read_approvers(installation.approvers_file.read_text(), "approvers.json")
    assert {approver.organisation for approver in approvers.values()} == {"acme-kk", "beta-kk"}
    assert {"propose"} in [set(approver.may) for approver in approvers.values()]
    assert {"propose", "approve"} in [set(approver.may) for approver in approvers.values()]
    assert not any("mori" in keyid or "tanaka" in keyid for keyid in approvers)
