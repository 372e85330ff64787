"""A person signs on their own machine: the key file, what is shown, and what a verifier accepts."""

import base64
import io
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from rich.console import Console

from lostphone.approvers import PassphraseError, entry, key_id, make_key, read_key
from lostphone.screen import CouldNotError
from lostphone.signing import show, sign_statement
from services.mdm_actions.approvers import read as read_approvers
from shared.events.payload import Ownership
from shared.events.wipe import Step, WipeStatement, verifies

PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"


@pytest.fixture
def statement() -> WipeStatement:
    now = datetime(2026, 11, 24, 14, 50, tzinfo=UTC)
    return WipeStatement(
        organisation="acme-kk",
        incident="0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e5f",
        device="0192f0c1-7d3e-7a11-9b52-3f6f1c2d4e60",
        ownership=Ownership.COMPANY,
        drill=False,
        decision_version=1,
        accept_by=now + timedelta(hours=24),
        valid_until=now + timedelta(days=30),
        nonce="00112233445566778899aabbccddeeff",
    )


def test_a_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "mori.pem"
    made = make_key(file, None)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key_id(read_key(file).public_key()) == key_id(made.public_key())
    with pytest.raises(CouldNotError, match="never overwritten"):
        make_key(file, None)


def test_a_key_with_a_passphrase_opens_with_it_and_with_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "mori.pem"
    make_key(file, "correct horse")
    assert b"ENCRYPTED" in file.read_bytes()
    assert read_key(file, "correct horse")
    for wrong in (None, "battery staple"):
        with pytest.raises(PassphraseError):
            read_key(file, wrong)


def test_another_kind_of_key_and_no_key_at_all_are_told_apart_from_a_key(tmp_path: Path) -> None:
    other = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (other, b"hello", b""):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(CouldNotError, match="does not hold an Ed25519 private key"):
            read_key(tmp_path / "key.pem")
    with pytest.raises(CouldNotError, match="Cannot read"):
        read_key(tmp_path / "absent.pem")


def test_the_line_for_the_approvers_file_is_what_mdm_actions_reads(tmp_path: Path) -> None:
    key = make_key(tmp_path / "mori.pem", None).public_key()
    line = entry(key, person=PERSON, organisation="acme-kk", may=["approve"])
    (keyid, approver), = read_approvers(json.dumps(line), "line").items()  # fmt: skip
    assert keyid == key_id(key)
    assert approver.person == PERSON
    assert approver.public_key == key.public_bytes_raw()
    assert approver.may == {"approve"}


def test_a_signature_counts_for_its_step_only(tmp_path: Path, statement: WipeStatement) -> None:
    key = make_key(tmp_path / "mori.pem", None)
    public = Ed25519PublicKey.from_public_bytes(key.public_key().public_bytes_raw())
    signature = sign_statement(Step.APPROVE, statement, key)
    assert signature.keyid == key_id(key.public_key())
    assert len(base64.b64decode(signature.signature)) == 64
    assert verifies(Step.APPROVE, statement, signature, public)
    assert not verifies(Step.PROPOSE, statement, signature, public)
    assert not verifies(Step.APPROVE, statement.model_copy(update={"device": statement.incident}), signature, public)


def test_what_is_shown_is_every_field_and_the_very_bytes(statement: WipeStatement) -> None:
    screen = io.StringIO()
    show(Console(file=screen, width=60), statement)
    shown = screen.getvalue()
    assert statement.canonical().decode() in shown.replace("\n", "")
    for value in statement.model_dump(mode="json").values():
        assert str(value) in shown
