"""Policies are read as c2sp.org/tlog-policy says, by the service and by the verifier that stands alone."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from lostphone.screen import CouldNotError
from lostphone.verify import app
from services.audit.evidence import verify
from services.audit.tlog import Policy, VerifierKey, WitnessKey
from services.audit.tlog.keys import COSIGNATURE
from tests.audit.conftest import LOG_KEYS
from tests.audit.forger import Forger

type Fulfilled = Callable[[str], Callable[[Collection[str]], bool]]


def _service(text: str) -> Callable[[Collection[str]], bool]:
    return Policy.parse(text).is_fulfilled


def _alone(text: str) -> Callable[[Collection[str]], bool]:
    policy = verify.Policy(text)
    return lambda signed: policy.fulfilled(set(signed))


_BOTH = pytest.mark.parametrize("read", [_service, _alone])
_LOG = f"log {LOG_KEYS[0].verifier} https://log.example/"
_WITNESSES = [
    WitnessKey(f"w{at}.example", Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32)).verifier for at in range(4)
]
_LINES = [_LOG, *(f"witness w{at} {key}" for at, key in enumerate(_WITNESSES))]


@_BOTH
def test_a_policy_is_no_longer_than_anybody_needs_it(read: Fulfilled) -> None:
    """Each line is compared with all before it, and the policy in a bundle is its maker's."""
    text = "\n".join([*_LINES, "quorum w0", *["#"] * (1_000 - len(_LINES) - 1)])
    assert read(text)({"w0"})
    with pytest.raises((ValueError, verify.BadError), match="more than 1000 lines"):
        read(text + "\n#")


@_BOTH
def test_groups_of_groups_are_counted(read: Fulfilled) -> None:
    fulfilled = read("\n".join([*_LINES, "group a any w0 w1", "group b 2 a w2 w3", "quorum b"]))
    assert fulfilled({"w1", "w3"})
    assert not fulfilled({"w0", "w1"})
    assert not fulfilled(set())


@_BOTH
def test_spaces_tabs_comments_and_names_of_other_scripts_may_stand_there(read: Fulfilled) -> None:
    name = "証人\u3000\u2028一"  # only space, tab and newline part words and lines
    lines = [f"\t{_LOG}  ", "  # said by the reader", "", f"witness\t{name}  {_WITNESSES[0]} https://w.example/ "]
    assert read("\n".join([*lines, f"quorum {name}"]))({name})


@_BOTH
@pytest.mark.parametrize(
    "ending",
    [
        "quorum b",
        "group a 3 w0 w1\nquorum a",
        "group a 0 w0 w1\nquorum a",
        "group a ١ w0 w1\nquorum a",
        "group a any\nquorum a",
        "group a any none w1\nquorum a",
        "group none any w1\nquorum none",
        "group w0 any w1\nquorum w0",
        "group a any w0 w0\nquorum a",
        "group a any w0\ngroup b any w0 w1\nquorum b",
        "group b any a\ngroup a any w0\nquorum b",
        f"witness none {_WITNESSES[0].name}\nquorum none",
        f"{_LOG}\nquorum none",
        f"witness again {_WITNESSES[0]}\nquorum again",
        f"witness again {VerifierKey('other', 1, _WITNESSES[0].public)}\nquorum again",
        "quorum none\nquorum none",
        "quorum none\r",
        "# \x07\nquorum none",
        "quorum w0 w1",
        "word",
        "",
    ],
)
def test_what_a_policy_must_not_say_is_refused(read: Fulfilled, ending: str) -> None:
    with pytest.raises((ValueError, verify.BadError)):
        read("\n".join([*_LINES, ending]))


_COSIGNER = VerifierKey(LOG_KEYS[0].verifier.name, COSIGNATURE, LOG_KEYS[0].verifier.public)
_SAID = "is a witness's"


@_BOTH
def test_a_log_is_not_named_by_the_key_of_a_witness(read: Fulfilled) -> None:
    """Type 04 is of witnesses, and a statement with the time: no log signs so."""
    with pytest.raises((ValueError, verify.BadError), match=_SAID):
        read(f"log {_COSIGNER}\nquorum none\n")


def test_names_and_comments_may_be_in_any_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are octets, of which only those of ASCII say anything."""
    witness = "証人".encode("shift_jis")
    text = f"# 方針\nlog {LOG_KEYS[0].verifier}\n".encode("shift_jis")
    (tmp_path / "policy").write_bytes(
        text + b"witness %b %b\nquorum %b\n" % (witness, str(_WITNESSES[0]).encode(), witness)
    )
    place, policy = Forger(tmp_path).save(tmp_path / "log"), str(tmp_path / "policy")
    assert verify.main(["log", str(place), "--policy", policy]) == 1
    assert "did not sign" in capsys.readouterr().out
    for more in ([], ["--json"]):
        options = [str(place), "--policy", policy, "--data-dir", str(tmp_path), *more]
        said = CliRunner().invoke(app, options, standalone_mode=False, catch_exceptions=False)
        assert said.return_value == 1
        assert "did not sign" in said.stdout


@pytest.mark.parametrize("given", ["--vkey", "--policy"])
def test_neither_verifier_takes_the_key_of_a_witness_for_one_of_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    (tmp_path / "policy").write_text(f"log {_COSIGNER}\nquorum none\n")
    (tmp_path / "bundle.zip").write_bytes(b"")
    options = [given, str(_COSIGNER) if given == "--vkey" else str(tmp_path / "policy")]
    for command, place in (("log", tmp_path), ("bundle", tmp_path / "bundle.zip")):
        assert verify.main([command, str(place), *options]) == 2
        assert _SAID in capsys.readouterr().out
        with pytest.raises(CouldNotError, match=_SAID):
            CliRunner().invoke(
                app, [str(place), *options, "--data-dir", str(tmp_path)], standalone_mode=False, catch_exceptions=False
            )


def test_a_witness_that_is_named_by_a_key_of_a_log_cosigns_under_the_other_id() -> None:
    plain = VerifierKey(_WITNESSES[0].name, 1, _WITNESSES[0].public)
    assert Policy.parse(f"{_LOG}\nwitness w {plain}\nquorum w\n").witnesses["w"].key == _WITNESSES[0]
    assert verify.Policy(f"{_LOG}\nwitness w {plain}\nquorum w\n").witnesses["w"].keyid == _WITNESSES[0].keyid
