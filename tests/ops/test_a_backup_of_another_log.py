"""A backup is not put in place under keys that did not sign its timeline: nobody could read it there."""

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lostphone.backup import BackupError
from lostphone.restore import refuse_another_log
from services.audit.tlog import Checkpoint, LogKey, SignedNote

ORIGIN = "lostphone.example/log"


def _key(origin: str = ORIGIN) -> LogKey:
    return LogKey(origin, Ed25519PrivateKey.generate())


def _newest(key: LogKey) -> bytes:
    checkpoint = Checkpoint(key.origin, 7, secrets.token_bytes(32))
    return bytes(SignedNote(checkpoint.text(), (key.sign(checkpoint, 1_795_418_694),)))


def test_keys_that_signed_it_go_on() -> None:
    key = _key()
    refuse_another_log([key.verifier, _key().verifier], _newest(key))


def test_a_backup_that_had_published_nothing_goes_on_under_any_keys() -> None:
    refuse_another_log([_key().verifier], None)
    refuse_another_log([_key().verifier], b"")


@pytest.mark.parametrize("origin", [ORIGIN, "elsewhere.example/log"], ids=["of the same name", "of another name"])
def test_keys_of_another_log_are_refused(origin: str) -> None:
    with pytest.raises(BackupError, match="give the keys that were kept"):
        refuse_another_log([_key().verifier], _newest(_key(origin)))


def test_keys_of_a_log_that_was_closed_here_are_refused() -> None:
    closed = _key("closed.example/log")
    with pytest.raises(BackupError, match="give the keys that were kept"):
        refuse_another_log([_key().verifier, closed.verifier], _newest(closed))


def test_what_is_no_checkpoint_is_refused() -> None:
    with pytest.raises(BackupError, match="give the keys that were kept"):
        refuse_another_log([_key().verifier], b"no note\n")
