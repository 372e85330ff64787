"""Stories of lost phones, each told by several people through HTTP, and finished whatever happens on the way.

wiped      reported by the holder; two people sign, the phone is erased, the line stopped; people concerned are told
found      reported without sign-in, verified by the desk, found again: unlocked, and the assessment says no leak
line       the phone is out of reach: the line is stopped by a named order, and the case ends
cancelled  a false alarm through the emergency door, called off before anybody verified it
"""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid5

from lostphone.approvers import read_key, sandbox_key_file
from lostphone.demo.texts import ISSUER
from lostphone.signing import sign_statement
from sandbox.companies import companies
from shared.events.wipe import Step, WipeStatement
from tests.chaos.people import Case, People, RefusedError, TooLateError, until_true
from tests.chaos.world import World

type Plot = Literal["wiped", "found", "line", "cancelled"]
PLOTS: dict[Plot, int] = {"wiped": 5, "found": 3, "line": 2, "cancelled": 1}
"""How often each is told, in proportion."""
_NAMESPACE = UUID("7d0a3a52-52a7-5e2b-8f6e-3d2b8f0f9c11")
_NOT_YET = ("incident_unknown", "not_assessed", "assessment_superseded", "nobody_to_tell", "not_found")
_TOLD = {"principal": "told_by_post_or_phone", "public": "published_in_place", "entrusting_party": "entruster_told"}
"""Recipient → how a duty towards it is fulfilled without a filing."""
_ERASED_SILENTLY = 30.0
"""So long the desk waits for the word of a phone that was erased; NanoMDM may have been dead when it came."""


@dataclass(frozen=True)
class Cast:
    """Who acts for one company."""

    organisation: str
    desk: str
    approver: str
    privacy: str
    operator: str


CASTS = (
    Cast("acme-kk", "acme-tanaka", "acme-mori", "acme-kato", "acme-operator"),
    Cast("beta-kk", "beta-hayashi", "beta-abe", "beta-kimura", ""),
)


@dataclass
class Story:
    """One phone, what is to happen to it, and how far that is."""

    number: int
    seed: int
    plot: Plot
    cast: Cast
    begin_after: float = 0.0
    incident: str = ""
    receipt: str = ""
    steps: list[str] = field(default_factory=list)
    ended: str = ""
    failed: str = ""

    @property
    def tag(self) -> str:
        return f"CHAOS-{self.seed}-{self.number:04d}"

    @property
    def holder(self) -> str:
        return f"chaos-{self.seed}-{self.number:04d}"

    @property
    def udid(self) -> str:
        return str(uuid5(_NAMESPACE, f"udid {self.tag}")).upper()

    @property
    def sim(self) -> str:
        return f"8981{self.seed % 10**8:08d}{self.number:07d}"

    @property
    def account(self) -> str:
        return str(uuid5(_NAMESPACE, f"account {self.tag}"))

    @property
    def people(self) -> dict[str, str]:
        """Whom the phone's address book names: address → channel."""
        mails = {f"p{at}.{self.holder}@customers.example": "mail" for at in range(4)}
        return mails | {f"U{uuid5(_NAMESPACE, f'line {self.tag}').hex}": "line"}


def invent(seed: int, count: int, over_seconds: float) -> list[Story]:
    """So many stories, begun at chance over that time."""
    chance = random.Random(f"stories {seed}")
    plots = chance.choices(list(PLOTS), list(PLOTS.values()), k=count)
    for at, plot in enumerate(list(PLOTS)[: min(count, len(PLOTS))]):
        plots[at] = plot  # each at least once
    return [
        Story(at, seed, plot, chance.choice(CASTS), chance.uniform(0, over_seconds)) for at, plot in enumerate(plots)
    ]


class Stage:
    """Where stories are played. `within`: seconds that making it ready may take."""

    def __init__(self, world: World, people: People, *, within: float) -> None:
        self.world = world
        self.people = people
        self.within = within

    async def prepare(self, stories: list[Story]) -> None:
        """Phones, SIMs, accounts and inventory, as they were before anything was lost."""
        until = time.monotonic() + self.within
        await asyncio.gather(*(asyncio.to_thread(self._equip, story) for story in stories))
        for cast in CASTS:
            mine = [story for story in stories if story.cast is cast]
            if not mine:
                continue
            who = cast.operator or await self._operator(cast.organisation)
            await self.people.call(
                "mdm_actions", who, "POST", "/v1/inventory/import?apply=true", until=until,
                content=_inventory(mine).encode(),
            )  # fmt: skip
        last = stories[-1]

        async def known() -> bool:
            connection = await self.world.database()
            try:
                tags = [story.tag for story in stories]
                return len(tags) == await connection.fetchval(
                    "SELECT count(*) FROM reporter.device WHERE facts->>'asset_tag' = ANY($1)", tags
                )
            finally:
                await connection.close()

        await until_true(known, f"the reporter to hear of {last.tag}", until)

    async def _operator(self, organisation: str) -> str:
        """Somebody of a company that has no operator in people.yaml."""
        said = await self.people._http.post(
            f"{self.world.status.sandbox['identity']}/_token",
            json={
                "sub": f"operator-{organisation}",
                "expires_in": 24 * 3600,
                "claims": {
                    "organisation": organisation,
                    "roles": ["employee", "operator"],
                    "name": "運用 花子",
                    "locale": "ja",
                },
            },
        )
        name = f"operator-of-{organisation}"
        self.people._tokens[name] = said.raise_for_status().json()["access_token"]
        return name

    def _equip(self, story: Story) -> None:
        tenant = companies().organisations[story.cast.organisation].entra_tenant
        phone = {
            "udid": story.udid,
            "serial": f"SBX{story.tag}",
            "position": {"latitude": 35.66, "longitude": 139.70},
        }
        self.world.sandbox("phones", "POST", "/phones", phone)
        self.world.sandbox("phones", "POST", f"/phones/{story.udid}/offline")
        self.world.sandbox("carrier", "POST", "/_sims", {"sim_id": story.sim, "organisation": story.cast.organisation})
        self.world.sandbox("entra", "POST", "/_users", {"id": story.account, "tenant": tenant, "name": story.holder})

    async def play(self, story: Story) -> None:
        """Tell one story to its end, or until it is cancelled; what went wrong is kept in it."""
        await asyncio.sleep(story.begin_after)
        teller = _Teller(self, story)
        try:
            await teller.tell()
        except asyncio.CancelledError:
            story.failed = f"after {story.steps[-1:]}: time was up"
            raise
        except (TooLateError, RefusedError) as error:
            story.failed = f"after {story.steps[-1:]}: {error}"
        finally:
            await teller.phone("offline")


async def play_out(playing: Sequence[asyncio.Task[None]], within: float) -> int:
    """Give stories so many seconds to end, and end the others; how many those were. Raises what none foresaw."""
    _, late = await asyncio.wait(playing, timeout=within)
    for task in late:
        task.cancel()
    for end in await asyncio.gather(*playing, return_exceptions=True):
        if isinstance(end, Exception):
            raise end
    return len(late)


class _Teller:
    """One story as it is told."""

    def __init__(self, stage: Stage, story: Story) -> None:
        self.stage = stage
        self.story = story
        self.until = math.inf  # a story has time while things are killed: whoever plays it ends it
        self._key = str(uuid5(_NAMESPACE, f"report {story.tag}"))

    async def tell(self) -> None:
        if self.story.plot != "line":
            await self.phone("online")
        await getattr(self, f"_{self.story.plot}")()
        self.story.ended = (await self.case())["status"]

    # -- plots -------------------------------------------------------------------------------------------------------

    async def _wiped(self) -> None:
        await self._report_signed_in()
        await self._acknowledge()
        await self._lock()
        await self._triage()
        nonce = await self._two_signatures()
        if await self._erased(nonce):
            await self._line_stopped()
        else:
            self.step("erased, and the phone's word was lost")
            await self.act(
                "withdraw", "desk", f"/wipe/proposals/{nonce}/withdraw", {"reason": "no_word"}, _no_wipe_open
            )
            await self._stop_line()
        await self._assess("suspected", people=len(self.story.people))
        await self._tell_people()
        await self._close("wiped_not_recovered")

    async def _found(self) -> None:
        await self._report_in_emergency()
        await self.act("verify", "desk", "/verify", {}, lambda case: case["verified"])
        await self._lock()
        await self._triage()
        recovered = {"from_whom": "taxi", "identity_checked": "yes", "viewed": "no"}
        await self.act("recovered", "desk", "/recovered", recovered, lambda case: case["recovered"])
        await self.wait("unlocked", lambda case: case["tracks"]["lock"]["state"] == "unlocked")
        await self._assess("none", people=0)
        await self._close("recovered")

    async def _line(self) -> None:
        await self._report_signed_in()
        await self._triage()
        await self._stop_line()
        await self._assess("none", people=0)
        await self._close("line_stopped")

    async def _cancelled(self) -> None:
        # Not signed in: a genuine report opens a duty at once, and a case with a duty is not cancelled.
        await self._report_in_emergency()
        await self.act("cancel", "approver", "/cancel", {"reason": "false_alarm"}, _has_status("cancelled"))

    # -- steps -------------------------------------------------------------------------------------------------------

    async def _report_signed_in(self) -> None:
        who = f"{self.story.cast.organisation}/{self.story.holder}"
        report = {"reported_as": "holder", "phone": self.story.tag, "callback": "080-5555-0142", "cause": "left_behind"}
        await self._report("/v1/reports", who, report | {"passcode_set": "yes"})

    async def _report_in_emergency(self) -> None:
        report = {
            "organisation": self.story.cast.organisation,
            "reported_as": "proxy",
            "holder_name": "佐藤 未来",
            "phone": self.story.tag,
            "callback": "080-5555-0142",
        }
        await self._report("/v1/emergency-reports", None, report)

    async def _report(self, path: str, who: str | None, report: dict[str, object]) -> None:
        self.step("reporting")
        said = await self.stage.people.call("reporter", who, "POST", path, until=self.until, key=self._key, json=report)
        self.story.incident, self.story.receipt = said["incident"], said["receipt_code"]
        self.step("accepted")

    async def _acknowledge(self) -> None:
        """The desk answers its pager: what was sent before is not sent again."""
        desk = self.story.cast.desk

        async def alert() -> str | None:
            path = f"/v1/alerts?incident={self.story.incident}"
            found = (await self.call("notifier", desk, "GET", path))["alerts"]
            return next((str(item["alert"]) for item in found), None)

        name = await until_true(alert, "an alert", self.until)
        await self.call("notifier", desk, "POST", f"/v1/alerts/{name}/acknowledge", json={})
        self.step("acknowledged")

    async def _lock(self) -> None:
        await self.wait("locked", lambda case: case["tracks"]["lock"]["state"] == "locked")

    async def _triage(self) -> None:
        order = {"cause": "left_behind", "severity": "high"}
        await self.act("triage", "desk", "/triage", order, lambda case: case["triaged_at"])

    async def _two_signatures(self) -> str:
        """Propose and approve, each once; the nonce."""
        base = f"/v1/incidents/{self.story.incident}/wipe"
        cast = self.story.cast
        said = await self.call("reporter", cast.desk, "GET", f"{base}/statement")
        statement = WipeStatement.model_validate(said["statement"])
        proposal = {
            "statement": statement.model_dump(mode="json"),
            "signature": self._sign(cast.desk, Step.PROPOSE, statement),
            "reason": "data_at_risk",
        }
        await self.act("propose", "desk", "/wipe/proposals", proposal, _proposal(statement.nonce))
        approval = {"signature": self._sign(cast.approver, Step.APPROVE, statement)}
        path = f"/wipe/proposals/{statement.nonce}/approvals"
        await self.act("approve", "approver", path, approval, _proposal(statement.nonce, signed=True))
        return statement.nonce

    def _sign(self, who: str, step: Step, statement: WipeStatement) -> dict[str, Any]:
        key = read_key(sandbox_key_file(self.stage.world.installation.data_dir, who))
        return sign_statement(step, statement, key).model_dump(mode="json")

    async def _erased(self, nonce: str) -> bool:
        """Whether the phone's own word came. It says so once; when nobody listened, it is never heard."""
        silent_since: float | None = None

        async def settled() -> str | None:
            nonlocal silent_since
            state = (await self.case())["wipe"]["state"]
            if state in ("confirmed", "failed", "expired", "refused"):
                return str(state)
            phone = await asyncio.to_thread(self.stage.world.sandbox, "phones", "GET", f"/phones/{self.story.udid}")
            if phone["erased"]:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > _ERASED_SILENTLY:
                    return "silent"
            return None

        state = await until_true(settled, f"the wipe {nonce}", self.until)
        if state not in ("confirmed", "silent"):
            raise TooLateError(f"the wipe ended as {state}")
        self.step(f"wipe {state}")
        return state == "confirmed"

    async def _line_stopped(self) -> None:
        await self.wait("line stopped", lambda case: case["tracks"]["line"]["state"] == "suspended")

    async def _stop_line(self) -> None:
        order = {"reason": "misuse_feared", "acknowledge": True}
        ordered = ("suspend_requested", "suspended")
        await self.act(
            "stop line", "desk", "/line/suspend", order, lambda case: case["tracks"]["line"]["state"] in ordered
        )
        await self._line_stopped()

    async def _assess(self, leak: str, people: int) -> None:
        findings = {
            "leak": leak,
            "left_organisation": "yes" if people else "no",
            "people": people,
            "people_certain": True,
            "records": people,
            "counting": "address_book_export",
            "data_items": ["contacts"],
            "special_care": "no",
            "property_damage": "no",
            "wrongful_purpose": "no",
            "my_number": "no",
            "entrusted": "no",
            "key_apart": "no",
            "locked_at_loss": "yes",
            "misuse_seen": "no",
            "final": True,
        }  # fmt: skip
        await self.act(
            "assess", "privacy", "/assessment", findings, lambda case: case["assessments"] and not case["reassess"]
        )

    async def _tell_people(self) -> None:
        """List the people concerned and tell them once."""
        privacy, base = self.story.cast.privacy, f"/v1/incidents/{self.story.incident}"

        async def assessed() -> bool:
            try:
                await self.call(
                    "notifier", privacy, "POST", f"{base}/principals", content=_principals(self.story).encode()
                )
                batches = (await self.call("notifier", privacy, "GET", f"{base}/notices"))["batches"]
                if batches:
                    return True
                version = (await self.case())["assessments"][-1]["version"]
                order = {"template": "jp-loss-v1", "assessment_version": version, "issuer": ISSUER}
                await self.call("notifier", privacy, "POST", f"{base}/notices", json=order)
            except RefusedError as error:
                # The notifier has perhaps not heard of the case, or of its newest assessment; or the answer was lost.
                if error.code not in _NOT_YET:
                    raise
                return False
            return True

        await until_true(assessed, "the notices to be ordered", self.until)
        self.step("notices ordered")

        async def settled() -> bool:
            batches = (await self.call("notifier", privacy, "GET", f"{base}/notices"))["batches"]
            return bool(batches) and all(batch["state"] == "settled" for batch in batches)

        await until_true(settled, "the notices to be settled", self.until)
        self.step("notices settled")

    async def _close(self, outcome: str) -> None:
        """Tell the police, record what prevents the next loss, end every duty, and close."""
        police = {"kind": "lost_property", "channel": "online", "prefecture": "tokyo", "reception_number": "R-20261125"}
        await self.act("police told", "desk", "/police", police, lambda case: case["police"])
        measure = {
            "action": str(uuid5(_NAMESPACE, f"measure {self.story.tag}")),
            "measure": "no_company_phone_at_social_events",
            "kind": "rule",
        }
        await self.act("prevention", "desk", "/prevention", measure, lambda case: case["prevention"])

        async def closed() -> bool:
            await self._end_duties()
            case = await self.case()
            if case["status"] == "closed":
                return True
            if case["missing_for_closing"]:
                return False
            try:
                await self.call(
                    "reporter", self.story.cast.approver, "POST", self._path("/close"), json={"outcome": outcome}
                )
            except RefusedError as error:
                if error.code not in ("not_ready_to_close", "incident_ended"):
                    raise
            return False

        await until_true(closed, "the case to be closed", self.until)
        self.step("closed")

    async def _end_duties(self) -> None:
        """File what goes to an authority; where a mail is uncertain, somebody calls, and says so."""
        try:
            path = f"/v1/incidents/{self.story.incident}/duties"
            duties = (await self.call("notifier", self.story.cast.privacy, "GET", path))["duties"]
            for duty in duties:
                if duty["state"] != "open" or duty["recipient"] == "police":
                    continue
                how = _TOLD.get(duty["recipient"])
                act, order = ("meet", {"how": how}) if how else ("file", {"receipt": "PPC-2026-1"})
                await self.call(
                    "notifier", self.story.cast.privacy, "POST", f"/v1/duties/{duty['duty']}/{act}", json=order
                )
        except RefusedError as error:
            if error.code not in ("duty_ended", "incident_unknown", "not_found"):
                raise

    # -- small ones --------------------------------------------------------------------------------------------------

    def step(self, name: str) -> None:
        self.story.steps.append(name)

    def _path(self, path: str) -> str:
        return f"/v1/incidents/{self.story.incident}{path}"

    async def call(self, service: str, who: str | None, method: str, path: str, **body: Any) -> Any:
        return await self.stage.people.call(service, who, method, path, until=self.until, **body)

    async def case(self) -> Case:
        found: Case = await self.call("reporter", self.story.cast.desk, "GET", self._path(""))
        return found

    async def wait(self, what: str, true: Any) -> None:
        async def so() -> bool:
            return bool(true(await self.case()))

        await until_true(so, what, self.until)
        self.step(what)

    async def act(self, what: str, role: str, path: str, order: dict[str, Any], true: Any) -> None:
        """Do something on the case, unless it is done already; until it is."""

        async def done() -> bool:
            if true(await self.case()):
                return True
            try:
                await self.call("reporter", getattr(self.story.cast, role), "POST", self._path(path), json=order)
            except RefusedError as error:
                # Said no because an earlier try got through, or because it is too early.
                if error.status not in (404, 409):
                    raise
                return bool(true(await self.case()))
            return bool(true(await self.case()))

        await until_true(done, what, self.until)
        self.step(what)

    async def phone(self, what: str) -> None:
        await asyncio.to_thread(self.stage.world.sandbox, "phones", "POST", f"/phones/{self.story.udid}/{what}")


def _has_status(status: str) -> Any:
    return lambda case: case["status"] == status


def _no_wipe_open(case: Case) -> bool:
    return "wipe_open" not in case["missing_for_closing"]


def _proposal(nonce: str, *, signed: bool = False) -> Any:
    """Whether the case has this proposal, and, with `signed`, whether a second person signed it."""
    return lambda case: any(
        found["nonce"] == nonce and (bool(found["approvals"]) or not signed) for found in case["proposals"]
    )


_COLUMNS = (
    "asset_tag,platform,model,colour,marks,serial,imei,phone_number,ownership,supervised,holder,holder_account,mdm,udid,"
    "carrier,sim_id,storage_encrypted,passcode_set,attempts_limited,os_version"
)


def _inventory(stories: list[Story]) -> str:
    rows = [
        f"{story.tag},ios,iPhone 16,ブラック,,SBX{story.tag},,,company,yes,{story.holder},{story.account},nanomdm,"
        f"{story.udid},soracom,{story.sim},yes,yes,yes,19.1"
        for story in stories
    ]
    return "\n".join([_COLUMNS, *rows, ""])


def _principals(story: Story) -> str:
    rows = [
        f"取引先 様,{address if channel == 'mail' else ''},{address if channel == 'line' else ''}"
        for address, channel in story.people.items()
    ]
    return "\n".join(["name,mail,line_user_id", *rows, ""])
