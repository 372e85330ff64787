"""Notes and checkpoints: what other people's clients sign and read, read here; and what is refused."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.audit.tlog import Checkpoint, CheckpointError, LogKey, NoteError, SignedNote, VerifierKey, log_vkey

# The example and key of golang.org/x/mod/sumdb/note, which every Go installation verifies.
_GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
_GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
_ED25519 = LogKey("log.example/acme", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
_MLDSA44 = LogKey("log.example/acme", MLDSA44PrivateKey.from_seed_bytes(bytes(range(32))))
_CHECKPOINT = Checkpoint("log.example/acme", 42, bytes(range(32)))
_TIME = 1_795_418_694


def _signed(*keys: LogKey, checkpoint: Checkpoint = _CHECKPOINT) -> SignedNote:
    return SignedNote(checkpoint.text(), tuple(key.sign(checkpoint, _TIME) for key in keys))


def test_a_note_that_go_signed_is_verified() -> None:
    note = SignedNote.parse(_GO_NOTE.encode())
    assert note.verified_by([VerifierKey.parse(_GO_VKEY)]) == [VerifierKey.parse(_GO_VKEY)]
    assert str(VerifierKey.parse(_GO_VKEY)) == _GO_VKEY
    assert bytes(note).decode() == _GO_NOTE


def test_the_checkpoint_has_exactly_the_three_lines_of_the_standard_and_one_line_per_key() -> None:
    note = _signed(_ED25519, _MLDSA44)
    text, signatures = bytes(note).decode().split("\n\n")
    assert text == "log.example/acme\n42\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    ed25519, mldsa44, end = signatures.split("\n")
    assert end == ""
    assert len(base64.b64decode(ed25519.split(" ")[2])) == 4 + 64
    assert len(base64.b64decode(mldsa44.split(" ")[2])) == 4 + 8 + 2420
    assert Checkpoint.parse(note.text) == _CHECKPOINT


@pytest.mark.parametrize("key", [_ED25519, _MLDSA44], ids=["ed25519", "mldsa44"])
def test_each_signature_holds_alone_and_a_changed_checkpoint_has_none(key: LogKey) -> None:
    note = SignedNote.parse(bytes(_signed(_ED25519, _MLDSA44)))
    assert note.verified_by([key.verifier]) == [key.verifier]
    for other in ("log.example/acme\n43\n", "log.example/acme \n42\n"):
        changed = SignedNote(note.text.replace("log.example/acme\n42\n", other), note.signatures)
        with pytest.raises(NoteError, match="is wrong"):
            changed.verified_by([key.verifier])


def test_the_signature_states_its_time() -> None:
    signature = _MLDSA44.sign(_CHECKPOINT, _TIME)
    assert int.from_bytes(signature.value[:8]) == _TIME
    moved = (_TIME + 1).to_bytes(8) + signature.value[8:]
    assert not _MLDSA44.verifier.verifies(_CHECKPOINT.text(), moved)


def test_signatures_of_unknown_keys_are_ignored_also_under_a_known_name() -> None:
    stranger = LogKey("log.example/acme", Ed25519PrivateKey.generate())
    crowd = [LogKey(f"witness{at}.example/証人", Ed25519PrivateKey.generate()) for at in range(20)]
    note = SignedNote.parse(bytes(_signed(stranger, *crowd, _ED25519)))
    assert note.verified_by([_ED25519.verifier]) == [_ED25519.verifier]
    assert crowd[3].verifier in note.verified_by([crowd[3].verifier, _MLDSA44.verifier])
    with pytest.raises(NoteError, match="no key that is trusted"):
        note.verified_by([_MLDSA44.verifier])


def test_one_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    right, wrong = _signed(_ED25519), _signed(_ED25519, checkpoint=Checkpoint("log.example/acme", 43, bytes(32)))
    for signatures in (right.signatures + wrong.signatures, wrong.signatures + right.signatures):
        with pytest.raises(NoteError, match="is wrong"):
            SignedNote(right.text, signatures).verified_by([_ED25519.verifier])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda note: note[: note.index(b"\n\n") + 1], "no signatures"),
        (lambda note: note[:-1], "no signatures"),
        (lambda note: note.replace("—".encode(), b"-"), "not a signature"),
        (lambda note: note.replace(b"\n\n", b"\t\n\n"), "control characters"),
        (lambda note: note.replace(b"log", b"\xff", 1), "not UTF-8"),
        (lambda note: note + b"\n", "no signatures|not a signature"),
        (lambda note: note.replace(b"=\n", b"\n"), "base64|not a signature"),
        (lambda note: note[: note.index("— ".encode())] + "— log.example/acme AAAA\n".encode(), "too short"),
        (lambda note: note[: note.index("— ".encode())] + note[note.index("— ".encode()) :] * 101, "too many"),
        (lambda note: note + b"x" * 1_000_000, "too long"),
    ],
)
def test_a_malformed_note_is_refused_and_the_message_says_why(damage: object, reason: str) -> None:
    assert callable(damage)
    with pytest.raises(NoteError, match=reason):
        SignedNote.parse(damage(bytes(_signed(_ED25519))))


@pytest.mark.parametrize(
    "text",
    ["", "a\n1\n", "a\n1２\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
     "a\n01\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", "a\n-1\nAA==\n", "a\n1\nAA==\n",
     "a\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "a\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n",
     "\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n", "a\n1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n"],
)  # fmt: skip
def test_what_is_not_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "vkey",
    ["", "a", "a+b", _GO_VKEY.replace("c74f20a3", "c74f20a4"), _GO_VKEY.replace("PeterNeumann", "Peter Neumann"),
     _GO_VKEY.replace("+AR", "+BR"), _GO_VKEY[:-4], _GO_VKEY.replace("PeterNeumann", "PeterNeumanm")],
)  # fmt: skip
def test_what_is_not_a_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(ValueError, match="verifier key"):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("key", [_ED25519, _MLDSA44], ids=["ed25519", "mldsa44"])
def test_the_verifier_key_comes_out_of_the_private_keys_file(key: LogKey, tmp_path: Path) -> None:
    file = tmp_path / "log.pem"
    file.write_bytes(key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert VerifierKey.parse(log_vkey(file, key.origin)) == key.verifier
    with pytest.raises(ValueError, match="no spaces"):
        log_vkey(file, "log example")
