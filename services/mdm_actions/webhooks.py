"""What NanoMDM says by itself. Each body counts once; a lost one is made up for by the reconciler."""

import hashlib

import structlog
from fastapi import APIRouter, Request, Response

from services.mdm_actions import fleet, store
from services.mdm_actions.containment import ACTOR
from services.mdm_actions.mdm.nanomdm import ForgedWebhookError, Heard, MalformedWebhookError, read_webhook
from services.mdm_actions.settlement import Settlement
from shared.events.mdm_actions import MisuseSuspected
from shared.messaging import Unit, Units
from shared.web import Problem

_log = structlog.get_logger()

_MDM = "nanomdm"
_MAX_BODY = 1_000_000


def router(units: Units, settlement: Settlement, key: str) -> APIRouter:
    """`POST /webhooks/nanomdm`, signed with `key`."""
    routes = APIRouter()

    @routes.post("/webhooks/nanomdm", status_code=204)
    async def heard(request: Request) -> Response:
        """An event of the MDM server."""
        body = await request.body()
        if len(body) > _MAX_BODY:
            raise Problem(413, "too_large", ja="Webhook の本文が大きすぎます。", en="The webhook's body is too large.")
        try:
            word = read_webhook(body, request.headers.get("x-hmac-signature"), key)
        except ForgedWebhookError as error:
            raise Problem(
                401,
                "signature_invalid",
                ja="X-Hmac-Signature が一致しません。NanoMDM とこのサービスの鍵を確認してください。",
                en="X-Hmac-Signature does not match: compare the keys of NanoMDM and of this service.",
            ) from error
        except MalformedWebhookError as error:
            raise Problem(
                422, "not_an_event", ja="NanoMDM のイベントではありません。", en="This is not an event of NanoMDM."
            ) from error
        if _is_idle(word):
            # A phone that merely asks for work: by far the most of what comes in, so it costs one statement.
            await fleet.seen_idle(units.pool, _MDM, word.udid, word.at)
            return Response(status_code=204)
        async with units.begin() as unit:
            await _take(unit, settlement, word, hashlib.sha256(body).hexdigest())
        return Response(status_code=204)

    return routes


def _is_idle(word: Heard) -> bool:
    return word.topic == "mdm.Connect" and word.command is None


async def _take(unit: Unit, settlement: Settlement, word: Heard, sha256: str) -> None:
    name = str(word.command) if word.command else None
    known = await store.keep_webhook(unit, sha256, udid=word.udid, topic=word.topic, command=name)
    if known is None:
        return
    device = await fleet.seen(unit, _MDM, word.udid, word.at, enrols=word.enrols)
    if device:
        await _sign_of_life(unit, device, word)
    if name and not known:
        _log.warning("webhook_for_unknown_command", command=name)
    if name is None or not known or word.outcome is None:
        return
    if found := await store.locked(unit, name):
        case, command = found
        await settlement.hear(unit, case, command, word.outcome, source="webhook")


async def _sign_of_life(unit: Unit, device: str, word: Heard) -> None:
    if word.enrols:
        # Setting up anew clears the server's queue, a moment before or after this: the reconciler sees what is left.
        for command in await store.unanswered(unit, device):
            await unit.arm(command.incident, command.timer("watch"), unit.now)
    if word.topic == "mdm.CheckOut":
        for case in await store.open_cases_of(unit, device):
            await unit.lock(case.incident)
            misuse = MisuseSuspected(device=device, signal="left_management")
            await unit.emit(misuse, case.scope, actor=ACTOR)
