"""Apple devices through a real NanoMDM with PostgreSQL storage: what its answers and its silences mean."""

import asyncio
import logging
import plistlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from services.mdm_actions.domain.command import Kind, State
from services.mdm_actions.mdm.nanomdm import NanoMDM
from services.mdm_actions.providers import DeviceOrder, ProviderRefusedError, ProviderUnavailableError
from tests.providers.bench import Bench, LosesAnswers, an_order, ended, eventually


async def test_a_located_phone_gives_its_position_and_its_own_report_as_evidence(bench: Bench) -> None:
    phone = await bench.phone(position={"latitude": 35.6812, "longitude": 139.7671, "accuracy_m": 17.6})
    await phone.order(Kind.LOST_MODE)
    outcome = await phone.outcome(await phone.order(Kind.LOCATE), ended)
    assert outcome.state is State.SUCCEEDED
    assert outcome.position is not None
    assert (outcome.position.latitude, outcome.position.longitude) == (35.6812, 139.7671)
    assert outcome.position.accuracy_m == 18
    assert datetime.now(UTC) - outcome.position.at < timedelta(minutes=1)
    assert plistlib.loads(outcome.evidence)["Latitude"] == 35.6812


async def test_the_message_of_lost_mode_is_on_the_screen_until_it_ends(bench: Bench) -> None:
    phone = await bench.phone()
    order = DeviceOrder(uuid4(), Kind.LOST_MODE, "拾った方へ <&> please call")
    await bench.devices.enqueue(phone.udid, order)
    await phone.outcome(order.command, ended)
    state = await phone.state()
    assert (state["lost_mode"], state["message"]) == (True, "拾った方へ <&> please call")
    await phone.outcome(await phone.order(Kind.UNLOCK), ended)
    state = await phone.state()
    assert (state["lost_mode"], state["message"]) == (False, None)


async def test_a_command_waits_for_a_phone_that_is_offline(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.tell("offline")
    command = await phone.order(Kind.LOST_MODE)
    assert (await phone.outcome(command, lambda _: True)).state is State.QUEUED
    await phone.tell("online")
    assert (await phone.outcome(command, ended)).state is State.SUCCEEDED


async def test_a_phone_that_cannot_now_is_deferred_and_obeys_later(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.behave(not_now=10_000)
    command = await phone.order(Kind.LOCK)
    deferred = await phone.outcome(command, lambda said: said.state is not State.QUEUED)
    assert (deferred.state, deferred.reason) == (State.DEFERRED, "device_cannot_now")
    await phone.behave()
    assert (await phone.outcome(command, ended)).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (12021, "command_not_supported"),
        (12067, "not_in_lost_mode"),
        (12068, "location_unknown"),
        (12069, "unlock_failed"),
        (12078, "invalid_in_lost_mode"),
        (19999, "device_error_19999"),
    ],
)
async def test_a_phone_that_refuses_says_why(bench: Bench, code: int, reason: str) -> None:
    phone = await bench.phone()
    await phone.behave(errors={"DeviceLock": code})
    outcome = await phone.outcome(await phone.order(Kind.LOCK), ended)
    assert (outcome.state, outcome.reason) == (State.FAILED, reason)
    assert outcome.evidence


async def test_locating_without_lost_mode_fails_as_on_a_real_phone(bench: Bench) -> None:
    phone = await bench.phone()
    outcome = await phone.outcome(await phone.order(Kind.LOCATE), ended)
    assert (outcome.state, outcome.reason) == (State.FAILED, "not_in_lost_mode")


async def test_a_phone_that_is_not_supervised_knows_no_lost_mode_but_can_be_wiped(bench: Bench) -> None:
    phone = await bench.phone(supervised=False)
    outcome = await phone.outcome(await phone.order(Kind.LOST_MODE), ended)
    assert (outcome.state, outcome.reason) == (State.FAILED, "command_not_supported")
    assert (await phone.outcome(await phone.order(Kind.WIPE), ended)).state is State.SUCCEEDED


async def test_a_wipe_keeps_the_esim_and_never_hands_the_finder_a_working_phone(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.outcome(await phone.order(Kind.WIPE), ended)
    journal = (await bench.http.get(f"{bench.phones_url}/_journal")).json()["entries"]
    (wipe,) = [entry for entry in journal if entry["path"] == f"/phones/{phone.udid}/EraseDevice"]
    assert wipe["body"]["PreserveDataPlan"] is True
    assert set(wipe["body"]) == {"CommandUUID", "RequestType", "PreserveDataPlan"}


async def test_an_erased_phone_is_quiet_after_its_answer(bench: Bench) -> None:
    phone = await bench.phone()
    outcome = await phone.outcome(await phone.order(Kind.WIPE), ended)
    command = await phone.order(Kind.LOCK)
    presence = await bench.devices.look(phone.udid)
    assert presence.last_seen is not None
    assert outcome.at is not None
    assert presence.last_seen <= outcome.at + timedelta(seconds=1)
    assert (await phone.outcome(command, lambda _: True)).state is State.QUEUED


async def test_a_phone_that_vanishes_while_erasing_leaves_the_wipe_open(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.behave(vanish_on_erase=True)
    command = await phone.order(Kind.WIPE)
    await eventually(phone.state, lambda state: bool(state["erased"]))
    assert (await phone.outcome(command, lambda _: True)).state is State.QUEUED


async def test_enrolling_again_moves_the_time_of_enrolment_and_drops_what_was_queued(bench: Bench) -> None:
    phone = await bench.phone()
    before = await bench.devices.look(phone.udid)
    await phone.behave(vanish_on_erase=True)
    command = await phone.order(Kind.WIPE)
    await eventually(phone.state, lambda state: bool(state["erased"]))
    await phone.tell("enrol")
    after = await bench.devices.look(phone.udid)
    assert after.enrolled
    assert before.enrolled_at is not None
    assert after.enrolled_at is not None
    assert after.enrolled_at > before.enrolled_at
    outcome = await phone.outcome(command, ended)
    assert (outcome.state, outcome.reason) == (State.SUPERSEDED, "dropped_from_queue")


async def test_a_command_answered_before_a_new_enrolment_stays_done(bench: Bench) -> None:
    phone = await bench.phone()
    command = await phone.order(Kind.WIPE)
    await phone.outcome(command, ended)
    await phone.tell("enrol")
    assert (await phone.outcome(command, lambda _: True)).state is State.SUCCEEDED


async def test_a_phone_without_its_management_profile_is_not_enrolled(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.tell("leave")
    assert not (await bench.devices.look(phone.udid)).enrolled


async def test_a_disarmed_wipe_never_reaches_the_phone(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.tell("offline")
    wipe = await phone.order(Kind.WIPE)
    assert await bench.devices.disarm(phone.udid, wipe)
    await phone.tell("online")
    await phone.outcome(await phone.order(Kind.LOCK), ended)
    assert await phone.obeyed() == ["DeviceLock"]
    assert (await phone.outcome(wipe, ended)).state is State.SUPERSEDED
    assert not await bench.devices.disarm(phone.udid, wipe)


async def test_a_wipe_that_a_phone_could_not_do_yet_can_still_be_disarmed(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.behave(not_now=10_000)
    wipe = await phone.order(Kind.WIPE)
    await phone.outcome(wipe, lambda said: said.state is State.DEFERRED)
    assert await bench.devices.disarm(phone.udid, wipe)
    await phone.behave()
    await phone.outcome(await phone.order(Kind.LOCK), ended)
    assert not (await phone.state())["erased"]


async def test_what_is_done_or_unknown_cannot_be_disarmed(bench: Bench) -> None:
    phone = await bench.phone()
    lock = await phone.order(Kind.LOCK)
    await phone.outcome(lock, ended)
    assert not await bench.devices.disarm(phone.udid, lock)
    assert not await bench.devices.disarm(phone.udid, uuid4())


async def test_disarming_one_phone_leaves_the_others_armed(bench: Bench) -> None:
    first, second = await bench.phone(), await bench.phone()
    await first.tell("offline")
    await second.tell("offline")
    wipe, other = await first.order(Kind.WIPE), await second.order(Kind.WIPE)
    assert not await bench.devices.disarm(second.udid, wipe)
    assert await bench.devices.disarm(first.udid, wipe)
    assert (await second.outcome(other, lambda _: True)).state is State.QUEUED


async def test_the_same_command_reaches_the_phone_once(bench: Bench) -> None:
    phone = await bench.phone()
    order = an_order(Kind.PLAY_SOUND)
    await phone.order(Kind.LOST_MODE)
    for _ in range(3):
        await bench.devices.enqueue(phone.udid, order)
    await phone.outcome(order.command, ended)
    assert (await phone.state())["sounds"] == 1


async def test_a_report_sent_twice_changes_nothing(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.behave(repeat_reports=True)
    command = await phone.order(Kind.LOCK)
    assert (await phone.outcome(command, ended)).state is State.SUCCEEDED
    assert await phone.obeyed() == ["DeviceLock"]


async def test_when_the_answer_is_lost_the_command_is_found_by_asking_and_may_be_repeated(bench: Bench) -> None:
    phone = await bench.phone()
    await phone.tell("offline")
    order = an_order(Kind.LOCK)
    async with httpx2.AsyncClient(transport=LosesAnswers()) as lossy:
        with pytest.raises(ProviderUnavailableError):
            await NanoMDM(lossy, bench.url, bench.api_key, bench.database).enqueue(phone.udid, order)
    assert (await phone.outcome(order.command, lambda _: True)).state is State.QUEUED
    await bench.devices.enqueue(phone.udid, order)
    await phone.tell("online")
    await phone.outcome(order.command, ended)
    assert await phone.obeyed() == ["DeviceLock"]


async def test_commands_that_are_asked_about_together_cost_one_statement(bench: Bench, nanomdm_database: str) -> None:
    phones = [await bench.phone() for _ in range(3)]
    commands = [
        await phone.order(kind) for phone, kind in zip(phones, (Kind.LOST_MODE, Kind.LOCK, Kind.LOCK), strict=True)
    ]
    for phone, command in zip(phones[:2], commands[:2], strict=True):
        await phone.outcome(command, ended)
    statements: list[str] = []

    async def watched(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda record: statements.append(record.query))

    async with asyncpg.create_pool(nanomdm_database, min_size=1, max_size=1, init=watched) as pool:
        devices = NanoMDM(httpx2.AsyncClient(), bench.url, "unused", pool)
        statements.clear()
        said = await asyncio.gather(
            *(devices.outcome(phone.udid, command) for phone, command in zip(phones, commands, strict=True)),
            # Another phone's command is not this one's, though both are asked about.
            devices.outcome(phones[0].udid, commands[1]),
        )
    done, also_done, open_or_done, mixed_up = said
    assert (done and done.state, also_done and also_done.state) == (State.SUCCEEDED, State.SUCCEEDED)
    assert (open_or_done is not None, mixed_up) == (True, None)
    assert len([statement for statement in statements if "view_queue" in statement]) == 1


async def test_a_command_that_never_arrived_is_unknown(bench: Bench) -> None:
    phone = await bench.phone()
    assert await bench.devices.outcome(phone.udid, uuid4()) is None


async def test_a_phone_that_never_enrolled_is_refused_by_name(bench: Bench) -> None:
    assert not (await bench.devices.look("NEVER-SEEN")).enrolled
    with pytest.raises(ProviderRefusedError, match="device_not_enrolled"):
        await bench.devices.enqueue("NEVER-SEEN", an_order(Kind.LOCK))


async def test_a_phone_with_a_certificate_of_another_authority_does_not_get_in(bench: Bench) -> None:
    phone = await bench.phone(online=False)
    await phone.behave(foreign_certificate=True)
    await phone.tell("online")
    other = await bench.phone()
    await other.outcome(await other.order(Kind.LOCK), ended)
    assert not (await bench.devices.look(phone.udid)).enrolled
    assert not (await phone.state())["enrolled"]


@pytest.mark.parametrize("udid", ["A,B", "", "A/B", "../push/A", "A?nopush=1", "A" * 81, "A\n"])
async def test_no_device_id_can_name_two_devices_or_another_path(bench: Bench, udid: str) -> None:
    with pytest.raises(ProviderRefusedError, match="device_id_malformed"):
        await bench.devices.enqueue(udid, an_order(Kind.WIPE))
    with pytest.raises(ProviderRefusedError, match="device_id_malformed"):
        await bench.devices.wake([udid])


async def test_a_wrong_key_is_a_refusal_and_not_an_outage(bench: Bench) -> None:
    phone = await bench.phone()
    devices = NanoMDM(bench.http, bench.url, "wrong", bench.database)
    with pytest.raises(ProviderRefusedError, match="server_refused_our_key"):
        await devices.enqueue(phone.udid, an_order(Kind.LOCK))


async def test_a_server_that_is_down_is_an_outage(bench: Bench, closed_port: int) -> None:
    devices = NanoMDM(bench.http, f"http://127.0.0.1:{closed_port}", bench.api_key, bench.database)
    with pytest.raises(ProviderUnavailableError):
        await devices.enqueue("ANY", an_order(Kind.LOCK))
    with pytest.raises(ProviderUnavailableError):
        await devices.wake(["ANY"])
    with pytest.raises(ProviderUnavailableError):
        await devices.probe()


@pytest.mark.parametrize(
    "answer",
    [
        "<html>maintenance</html>",
        [],
        {},
        {"command_uuid": "5a5aee79-26d0-42d0-b04e-3ae6d1c615e6"},
        {"status": []},
        {"command_error": 1},
    ],
    ids=str,
)
async def test_what_is_no_answer_of_the_server_says_not_that_it_took_the_command(
    bench: Bench, answering: Callable[[object], str], answer: object
) -> None:
    devices = NanoMDM(bench.http, answering(answer), bench.api_key, bench.database)
    with pytest.raises(ProviderUnavailableError):
        await devices.enqueue("ANY", an_order(Kind.LOCK))


async def test_a_database_that_is_gone_is_an_outage(bench: Bench, nanomdm_database: str) -> None:
    pool = await asyncpg.create_pool(nanomdm_database, min_size=1, max_size=1)
    await pool.close()
    devices = NanoMDM(bench.http, bench.url, bench.api_key, pool)
    with pytest.raises(ProviderUnavailableError):
        await devices.look("ANY")
    with pytest.raises(ProviderUnavailableError):
        await devices.outcome("ANY", uuid4())
    with pytest.raises(ProviderUnavailableError):
        await devices.disarm("ANY", uuid4())


async def test_times_are_right_whatever_time_zone_the_database_session_keeps(
    bench: Bench, nanomdm_database: str
) -> None:
    phone = await bench.phone()
    command = await phone.order(Kind.LOCK)
    here = await phone.outcome(command, ended)
    async with asyncpg.create_pool(
        nanomdm_database, min_size=1, max_size=1, server_settings={"timezone": "America/New_York"}
    ) as pool:
        devices = NanoMDM(bench.http, bench.url, bench.api_key, pool)
        there = await devices.outcome(phone.udid, command)
        presence = await devices.look(phone.udid)
    assert there is not None
    assert there.at == here.at
    assert here.at is not None
    assert abs(datetime.now(UTC) - here.at) < timedelta(minutes=1)
    assert presence.last_seen is not None
    assert abs(datetime.now(UTC) - presence.last_seen) < timedelta(minutes=1)


async def test_no_secret_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        phone = await bench.phone()
        await phone.outcome(await phone.order(Kind.LOCK), ended)
        await bench.devices.wake([phone.udid])
    assert bench.api_key not in caplog.text
    assert bench.webhook_key not in caplog.text
