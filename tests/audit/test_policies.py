"""Policies are read as c2sp.org/tlog-policy says, by the service and by the verifier that stands alone."""

from collections.abc import Callable, Collection

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.evidence import verify
from services.audit.tlog import Policy, VerifierKey, WitnessKey
from tests.audit.conftest import LOG_KEYS

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


def test_a_witness_that_is_named_by_a_key_of_a_log_cosigns_under_the_other_id() -> None:
    plain = VerifierKey(_WITNESSES[0].name, 1, _WITNESSES[0].public)
    assert Policy.parse(f"{_LOG}\nwitness w {plain}\nquorum w\n").witnesses["w"].key == _WITNESSES[0]
    assert verify.Policy(f"{_LOG}\nwitness w {plain}\nquorum w\n").witnesses["w"].keyid == _WITNESSES[0].keyid
