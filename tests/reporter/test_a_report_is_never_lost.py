"""Three answers are enough, through either door; what was accepted stays, once, and is told to the log."""

import asyncio

import pytest

from tests.reporter.running import DESK, Reporter, reporter_at
from tests.stack.installed import Installed

_ANSWERS = {
    "reported_as": "proxy",
    "holder_name": "鈴木 健",
    "phone": "090-1234-5678",
    "callback": "03-1234-5678 田中",
}


async def test_a_signed_in_report_opens_an_incident_and_tells_the_log(reporter: Reporter, acme: str) -> None:
    device = await reporter.phone(acme, number="09012345678", holder="person-" + "a" * 32)
    colleague = await reporter.someone(acme, name="高橋 翼")
    accepted = await colleague.post("/v1/reports", _ANSWERS | {"cause": "left_behind", "place": "taxi"}, expect=201)
    [(kind, data)] = await reporter.told(accepted["incident"])
    assert kind == "device-lost"
    assert data["device"] == device
    assert data["holder"] == "person-" + "a" * 32
    assert data["door"] == "signed_in"
    assert data["cause"] == "left_behind"
    assert "鈴木" not in str(data)
    assert "5678" not in str(data)


async def test_without_three_answers_the_reporter_is_told_which_are_missing(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    for missing in ("holder_name", "phone", "callback"):
        body = {name: value for name, value in _ANSWERS.items() if name != missing}
        refused = await colleague.post("/v1/reports", body, expect=422)
        assert refused["missing"] == [missing]


async def test_the_holder_who_signs_in_need_not_say_who_held_it(reporter: Reporter, acme: str) -> None:
    holder = await reporter.someone(acme, sub="sato")
    ref = reporter.kit.people.ref(acme, "sato")
    device = await reporter.phone(acme, holder=ref)
    body = {"reported_as": "holder", "phone": "会社のiPhone", "callback": "03-1234-5678"}
    accepted = await holder.post("/v1/reports", body, expect=201)
    [(_, data)] = await reporter.told(accepted["incident"])
    assert data["device"] == device
    assert data["holder"] == data["reporter"] == ref


@pytest.mark.parametrize("callback", ["090 1234 5678", "+81 90-1234-5678", "０９０１２３４５６７８"])
async def test_the_call_back_must_not_be_the_lost_phone(reporter: Reporter, acme: str, callback: str) -> None:
    await reporter.phone(acme, number="09012345678", asset_tag="ACME-IP-7")
    colleague = await reporter.someone(acme)
    for phone in ("09012345678", "acme-ip-7"):
        body = _ANSWERS | {"phone": phone, "callback": callback}
        assert (await colleague.post("/v1/reports", body, expect=422))["code"] == "callback_is_the_lost_phone"


async def test_the_call_back_must_not_be_a_lost_phone_that_nobody_knows_either(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    body = _ANSWERS | {"callback": "+81 90 1234 5678"}
    assert (await colleague.post("/v1/reports", body, expect=422))["code"] == "callback_is_the_lost_phone"


async def test_a_phone_that_nobody_knows_is_reported_all_the_same(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    accepted = await colleague.post("/v1/reports", _ANSWERS | {"phone": "黒いスマホ"}, expect=201)
    [(_, data)] = await reporter.told(accepted["incident"])
    assert "device" not in data
    assert data["phone_hint"]


async def test_the_same_tap_twice_is_one_report_with_one_receipt(reporter: Reporter, acme: str) -> None:
    colleague = await reporter.someone(acme)
    headers = {"Idempotency-Key": "tap-0123456789abcdef"}
    answers = await asyncio.gather(
        *(colleague.post("/v1/reports", _ANSWERS, expect=201, headers=headers) for _ in range(4))
    )
    assert len({answer["receipt_code"] for answer in answers}) == 1
    assert len({answer["incident"] for answer in answers}) == 1
    assert len(await reporter.told(answers[0]["incident"])) == 1
    other = _ANSWERS | {"callback": "03-9999-9999"}
    assert (await colleague.post("/v1/reports", other, expect=422, headers=headers))["code"] == "idempotency_key_reused"


async def test_two_people_who_report_the_same_phone_at_once_open_one_incident(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme, number="09012345678")
    people = [await reporter.someone(acme) for _ in range(4)]
    answers = await asyncio.gather(*(one.post("/v1/reports", _ANSWERS, expect=201) for one in people))
    [incident] = {answer["incident"] for answer in answers}
    assert len({answer["receipt_code"] for answer in answers}) == 4
    kinds = [(kind, data.get("merged")) for kind, data in await reporter.told(incident)]
    assert kinds == [("device-lost", None), *[("loss-report-amended", True)] * 3]


async def test_a_second_report_fills_what_was_unknown_and_overwrites_nothing(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme, number="09012345678")
    first, second = await reporter.someone(acme), await reporter.someone(acme)
    accepted = await first.post("/v1/reports", _ANSWERS | {"cause": "left_behind"}, expect=201)
    await second.post(
        "/v1/reports", _ANSWERS | {"cause": "theft", "passcode_attached": "yes", "callback": "03-0000-1111"}, expect=201
    )
    _, amended = (await reporter.told(accepted["incident"]))[-1]
    assert amended["changed"] == ["passcode_attached"]
    assert amended["cause"] == "left_behind"
    desk = await reporter.someone(acme, DESK)
    case = await desk.get(f"/v1/incidents/{accepted['incident']}")
    assert [report["facts"]["cause"] for report in case["reports"]] == ["left_behind", "theft"]
    assert [report["contact"]["callback"] for report in case["reports"]] == ["03-1234-5678 田中", "03-0000-1111"]


async def test_the_emergency_door_needs_no_sign_in_and_waits_for_the_desk(reporter: Reporter, acme: str) -> None:
    await reporter.phone(acme, number="09012345678")
    accepted = await reporter.nobody().post("/v1/emergency-reports", _ANSWERS | {"organisation": acme}, expect=201)
    [(_, data)] = await reporter.told(accepted["incident"])
    assert data["door"] == "emergency"
    assert "reporter" not in data
    desk = await reporter.someone(acme, DESK)
    path = f"/v1/incidents/{accepted['incident']}"
    triage = {"cause": "left_behind", "severity": "high"}
    assert (await desk.post(f"{path}/triage", triage, expect=409))["code"] == "report_not_verified"
    await desk.post(f"{path}/verify", {"method": "call_back"})
    assert (await reporter.told(accepted["incident"]))[-1][0] == "report-verified"
    assert (await desk.post(f"{path}/triage", triage))["status"] == "triaged"


async def test_a_signed_in_report_vouches_for_an_emergency_report_of_the_same_phone(
    reporter: Reporter, acme: str
) -> None:
    await reporter.phone(acme, number="09012345678")
    accepted = await reporter.nobody().post("/v1/emergency-reports", _ANSWERS | {"organisation": acme}, expect=201)
    colleague = await reporter.someone(acme)
    await colleague.post("/v1/reports", _ANSWERS, expect=201)
    kinds = [kind for kind, _ in await reporter.told(accepted["incident"])]
    assert kinds == ["device-lost", "loss-report-amended", "report-verified"]


async def test_an_emergency_report_adds_nothing_to_a_verified_case_until_the_desk_made_sure(
    reporter: Reporter, acme: str
) -> None:
    await reporter.phone(acme, number="09012345678")
    colleague = await reporter.someone(acme)
    accepted = await colleague.post("/v1/reports", _ANSWERS, expect=201)
    emergency = _ANSWERS | {"organisation": acme, "cause": "theft"}
    stranger = await reporter.nobody().post("/v1/emergency-reports", emergency, expect=201)
    assert (await reporter.told(accepted["incident"]))[-1][1]["cause"] == "unknown"
    receipt = await reporter.nobody().get(f"/v1/receipts/{stranger['receipt_code']}")
    assert receipt["police_text"] is None
    assert [step["what"] for step in receipt["happened"]] == ["reported"]
    desk = await reporter.someone(acme, DESK)
    await desk.post(f"/v1/incidents/{accepted['incident']}/verify", {"method": "call_back"})
    assert (await reporter.told(accepted["incident"]))[-1][1]["cause"] == "theft"


async def test_the_emergency_door_knows_only_its_organisations_and_no_drills(reporter: Reporter, acme: str) -> None:
    body = _ANSWERS | {"organisation": "nobody-kk"}
    assert (await reporter.nobody().post("/v1/emergency-reports", body, expect=404))["code"] == "organisation_unknown"
    await reporter.phone(acme)
    drill = _ANSWERS | {"organisation": acme, "drill": True}
    await reporter.nobody().post("/v1/emergency-reports", drill, expect=422)


async def test_the_open_door_and_the_codes_are_rate_limited(installed: Installed, provider: str) -> None:
    limits = {"emergency_burst": 2, "emergency_per_minute": 0.1, "receipt_burst": 3, "receipt_per_minute": 0.1}
    async with reporter_at(installed, provider, organisations=["small-kk"], **limits) as small:
        body = _ANSWERS | {"organisation": "small-kk"}
        for expect in (201, 201, 429):
            await small.nobody().post("/v1/emergency-reports", body, expect=expect)
        for expect in (404, 404, 404, 429):
            await small.nobody().get("/v1/receipts/AAAAA-BBBBB-CCCCC-DDDDD", expect=expect)


async def test_a_report_reaches_the_log_over_kafka(reporter: Reporter, acme: str) -> None:
    """The relay sends what the unit committed; the record verifies with the published keys."""
    from aiokafka import AIOKafkaConsumer

    from shared.events import Event, Received, read
    from shared.messaging.kafka import Producer
    from shared.messaging.relay import Relay

    kit = reporter.kit
    producer = Producer(kit.settings.kafka(), "test-reporter-relay")
    relay = Relay(reporter.installed.dsn("reporter"), "reporter", producer, kit.units.in_hand, kit.health)
    consumer = AIOKafkaConsumer(
        "lostphone.log.v1", bootstrap_servers=reporter.installed.bootstrap, auto_offset_reset="latest"
    )
    await consumer.start()
    work = asyncio.create_task(relay.run())
    try:
        await consumer.seek_to_end()
        colleague = await reporter.someone(acme)
        accepted = await colleague.post("/v1/reports", _ANSWERS, expect=201)
        async with asyncio.timeout(20):
            async for record in consumer:
                if record.key == accepted["incident"].encode():
                    break
        received = Received("lostphone.log.v1", 0, 0, 0, record.key, tuple(record.headers), record.value)
        reading = read(received, kit.keyring)
        assert isinstance(reading, Event)
        assert reading.envelope.organisation == acme
        assert reading.envelope.sequence == 1
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await consumer.stop()
        await producer.close()
