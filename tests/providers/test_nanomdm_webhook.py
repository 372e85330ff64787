"""NanoMDM's webhook: only what is signed is believed, and it says the same as a second look at the queue."""

import base64
import hmac
import plistlib
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.mdm.nanomdm import ForgedWebhookError, Heard, MalformedWebhookError, read_webhook
from services.mdm_actions.providers import Outcome, Position
from tests.providers.bench import Bench, ended, eventually

_KEY = "shared"
_COMMAND = "6f1d3b52-9a40-5c7e-8f0b-2a6c4d7e9b10"


def _signed(body: bytes, key: str = _KEY) -> str:
    return base64.b64encode(hmac.new(key.encode(), body, sha256).digest()).decode()


async def _heard(bench: Bench, udid: str) -> list[Heard]:
    heard = [read_webhook(body, signature, bench.webhook_key) for body, signature in list(bench.webhooks.received)]
    return [one for one in heard if one.udid == udid]


async def test_an_enrolment_is_heard(bench: Bench) -> None:
    phone = await bench.phone()
    heard = await eventually(lambda: _heard(bench, phone.udid), lambda said: any(one.enrols for one in said))
    assert {"mdm.Authenticate"} <= {one.topic for one in heard}


async def test_the_webhook_says_the_same_as_the_second_look(bench: Bench) -> None:
    phone = await bench.phone(position={"latitude": 1.5, "longitude": 2.5, "accuracy_m": 3})
    commands = {kind: await phone.order(kind) for kind in (Kind.LOST_MODE, Kind.LOCATE, Kind.WIPE)}
    for command in commands.values():
        await phone.outcome(command, ended)
    heard = await eventually(
        lambda: _heard(bench, phone.udid),
        lambda said: {one.command for one in said if one.command} == set(commands.values()),
    )
    for one in heard:
        if one.command is None:
            continue
        looked = await bench.devices.outcome(phone.udid, one.command)
        assert looked is not None
        assert one.outcome is not None
        assert (one.outcome.state, one.outcome.evidence) == (looked.state, looked.evidence)
        assert (one.outcome.position is None) == (looked.position is None)


async def test_a_refusal_is_heard_with_its_reason(bench: Bench) -> None:
    phone = await bench.phone()
    command = await phone.order(Kind.LOCATE)
    heard = await eventually(
        lambda: _heard(bench, phone.udid), lambda said: any(one.command == command for one in said)
    )
    (outcome,) = [one.outcome for one in heard if one.command == command]
    assert outcome is not None
    assert (outcome.state, outcome.reason) == (State.FAILED, "not_in_lost_mode")


@pytest.mark.parametrize("signature", [None, "", "AAAA", "ü", _signed(b"{}", "another")])
def test_what_is_not_signed_with_the_shared_key_is_forged(signature: str | None) -> None:
    with pytest.raises(ForgedWebhookError):
        read_webhook(b"{}", signature, _KEY)


def test_a_body_changed_after_signing_is_forged() -> None:
    with pytest.raises(ForgedWebhookError):
        read_webhook(b'{"topic":"mdm.Connect "}', _signed(b'{"topic":"mdm.Connect"}'), _KEY)


_PLACE: dict[str, Any] = {
    "Latitude": 1.5,
    "Longitude": 2.5,
    "HorizontalAccuracy": 3,
    "Timestamp": "2026-11-24T09:59:00Z",
}


def _answered(status: str, **told: Any) -> Outcome:
    """What is made of a phone that answers so."""
    answer = {"udid": "A", "status": status, "command_uuid": _COMMAND}
    answer["raw_payload"] = base64.b64encode(plistlib.dumps({"Status": status, **told})).decode()
    body = orjson.dumps({"topic": "mdm.Connect", "created_at": "2026-11-24T10:00:00Z", "acknowledge_event": answer})
    outcome = read_webhook(body, _signed(body), _KEY).outcome
    assert outcome is not None
    return outcome


def _located(**told: Any) -> Position | None:
    return _answered("Acknowledged", **_PLACE | told).position


@pytest.mark.parametrize("code", [2**63, -(2**63), "12", None])
def test_an_error_that_no_phone_gives_is_an_error_all_the_same(code: object) -> None:
    refused = _answered("Error", ErrorChain=[{"ErrorCode": code} if code is not None else {}])
    assert (refused.state, refused.reason) == (State.FAILED, "device_error")


@pytest.mark.parametrize("accuracy", [float("inf"), float("nan"), -1, 1e300, "3"])
def test_an_accuracy_that_is_no_length_is_none(accuracy: object) -> None:
    located = _located(HorizontalAccuracy=accuracy)
    assert located is not None
    assert (located.latitude, located.accuracy_m) == (1.5, None)


@pytest.mark.parametrize("latitude", [float("inf"), float("nan"), 90.5, "1"])
def test_a_place_that_is_not_on_the_earth_is_none(latitude: object) -> None:
    assert _located(Latitude=latitude) is None


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "yesterday", 5])
def test_a_time_that_no_calendar_has_is_that_of_the_webhook(moment: object) -> None:
    located = _located(Timestamp=moment)
    assert located is not None
    assert located.at == datetime(2026, 11, 24, 10, tzinfo=UTC)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_event = st.fixed_dictionaries(
    {},
    optional={
        "topic": st.just("mdm.Connect") | _json,
        "created_at": st.just("2026-11-24T10:00:00Z") | _json,
        "acknowledge_event": st.fixed_dictionaries(
            {},
            optional={
                "status": st.sampled_from(["Acknowledged", "Error", "NotNow", "Idle"]) | _json,
                "command_uuid": st.just(_COMMAND) | _json,
                "udid": st.just("A") | _json,
                "ids": _json,
                "raw_payload": st.just(base64.b64encode(b"no plist").decode()) | _json,
            },
        )
        | _json,
        "checkin_event": _json,
    },
)


@settings(deadline=None)
@given(event=_event | _json)
def test_a_signed_body_that_is_no_event_is_malformed_and_never_a_crash(event: object) -> None:
    body = orjson.dumps(event)
    try:
        heard = read_webhook(body, _signed(body), _KEY)
    except MalformedWebhookError:
        return
    assert heard.at.utcoffset() is not None
