"""LINE: the official SDK is answered as by the platform, and a repeat under the same retry key sends nothing twice."""

from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from linebot.v3.messaging import (
    ApiException,
    AsyncApiClient,
    AsyncMessagingApi,
    Configuration,
    PushMessageRequest,
    TextMessage,
)

from sandbox.companies import companies
from tests.sandbox.conftest import Play, Played

TO = "U" + "0a" * 16


async def _push(played: Played, key: str | None, to: str = TO, token: str | None = None, text: str = "お知らせ") -> Any:
    channel = token or companies().organisations["acme-kk"].line_channel_token
    async with AsyncApiClient(Configuration(host=played.addresses["line"], access_token=channel)) as client:
        request = PushMessageRequest(to=to, messages=[TextMessage(text=text)])
        return await AsyncMessagingApi(client).push_message_with_http_info(request, x_line_retry_key=key)


async def _messages(played: Played) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = (await played.http.get(f"{played.addresses['line']}/_messages")).json()
    return said


async def test_a_push_is_accepted_and_kept(play: Play) -> None:
    async with play("line") as played:
        answer = await _push(played, str(uuid4()))
        assert answer.status_code == 200
        assert answer.data.sent_messages[0].id.isdecimal()
        (message,) = await _messages(played)
        assert (message["channel"], message["to"], message["messages"][0]["text"]) == ("acme-kk", TO, "お知らせ")


async def test_a_repeat_under_the_same_key_is_409_with_the_first_requests_id_even_after_a_restart(play: Play) -> None:
    key = str(uuid4())
    async with play("line") as played:
        first = await _push(played, key)
    async with play("line") as played:
        with pytest.raises(ApiException) as refused:
            await _push(played, key)
        assert refused.value.status == 409
        assert refused.value.headers["x-line-accepted-request-id"] == first.headers["x-line-request-id"]
        assert len(await _messages(played)) == 1
        (before, after) = await played.journal("line")
        assert before["headers"] == after["headers"] == {"x-line-retry-key": key}


async def test_the_same_key_at_another_channel_is_another_message(play: Play) -> None:
    key = str(uuid4())
    async with play("line") as played:
        await _push(played, key)
        await _push(played, key, token=companies().organisations["beta-kk"].line_channel_token)
        assert {message["channel"] for message in await _messages(played)} == {"acme-kk", "beta-kk"}


async def test_what_was_refused_may_be_tried_again_with_the_same_key(play: Play) -> None:
    key = str(uuid4())
    async with play("line") as played:
        await played.fault("line", kind="answer", status=500)
        with pytest.raises(ApiException):
            await _push(played, key)
        assert (await _push(played, key)).status_code == 200


async def test_when_the_answer_is_lost_the_key_shows_that_the_message_went_out(play: Play) -> None:
    key = str(uuid4())
    async with play("line") as played:
        await played.fault("line", kind="lose_answer")
        with pytest.raises(aiohttp.ClientError):
            await _push(played, key)
        with pytest.raises(ApiException) as refused:
            await _push(played, key)
        assert refused.value.status == 409
        assert len(await _messages(played)) == 1


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"token": "nobody's"}, 401),
        ({"to": "C" + "0a" * 16}, 400),
        ({"key": "not-a-uuid"}, 400),
        ({"text": "x" * 5001}, 400),
    ],
)
async def test_what_the_platform_refuses_is_refused(play: Play, more: dict[str, str], status: int) -> None:
    async with play("line") as played:
        with pytest.raises(ApiException) as refused:
            await _push(played, **{"key": str(uuid4()), **more})
        assert refused.value.status == status
        assert "message" in str(refused.value.body)
        assert await _messages(played) == []


async def test_one_recipient_can_be_refused_until_it_is_lifted(play: Play) -> None:
    async with play("line") as played:
        url = f"{played.addresses['line']}/_recipients"
        await played.http.post(url, json={"to": TO, "status": 429})
        with pytest.raises(ApiException) as refused:
            await _push(played, str(uuid4()))
        assert refused.value.status == 429
        await played.http.post(url, json={"to": TO, "status": 200})
        assert (await _push(played, str(uuid4()))).status_code == 200
