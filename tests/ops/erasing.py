"""People are erased as docs/operations.md says, on a running installation; then every place to look."""

import asyncio
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from lostphone import topic_reader
from lostphone.backup import run
from lostphone.demo import cast
from lostphone.demo.cast import Cast
from lostphone.installation import Installation
from lostphone.topics import manifest
from sandbox.companies import companies, fleet
from shared.events import Unopened
from tests.ops.running import Place

_HOLDER, _TELLER, _DEVICE = "acme-ito", "acme-suzuki", "ACME-0003"
_CUSTOMERS = "name,mail,line_user_id\n長谷川 楓,kaede@customers.example,\n三枝 蓮,ren@customers.example,\n"
_TOLD = {
    "holder_name": "伊藤 薫",
    "callback": "080-5555-0177",
    "place_detail": "銀座線の先頭車両、網棚",
    "circumstances": "送別会の帰りに電車の網棚へ置き忘れた。",
}
_FACILITY = "銀座駅 お忘れ物取扱所"


@dataclass(frozen=True)
class Erased:
    """Holder, reporter and a customer of one case, and the holder's phone, which left the inventory."""

    incident: str
    said: list[dict[str, Any]]
    """What each order was answered; the first while the case went on."""
    disclosed: tuple[dict[str, str | None], dict[str, str | None]]
    """The case's fields as a privacy officer opens them, before and after."""
    evidence: tuple[Path, Path]
    """Of before and after."""
    dump: Path
    pages: dict[str, str]

    @property
    def owners(self) -> list[str]:
        """Under whose names the vault had it."""
        devices = [f"device-{device}" for said in self.said for device in said["devices"]]
        return sorted({*devices, *(said["person"] for said in self.said)})

    def places(self, place: Place) -> Iterator[tuple[str, bytes]]:
        """Everything that the installation holds or shows, by name. The outside world is none of it."""
        kafka = {"bootstrap.servers": place.status.kafka.bootstrap}
        for topic in manifest():
            for record in topic_reader.records(kafka, topic.name, topic_reader.ends(kafka, topic.name)):
                if not isinstance(record.value, Unopened):
                    headers = (value or b"" for _, value in record.headers)
                    yield f"{topic.name} {record.offset}", b" ".join([record.key or b"", record.value or b"", *headers])
        for log in (place.data_dir / "processes").glob("*.log"):
            if log.stem != "sandbox":
                yield f"log {log.stem}", log.read_bytes()
        yield "database", self.dump.read_bytes()
        for name, text in self.pages.items():
            yield name, text.encode()
        with zipfile.ZipFile(self.evidence[1]) as bundle:
            for name in bundle.namelist():
                yield f"evidence {name}", bundle.read(name)


@dataclass(frozen=True)
class Caller:
    """One service, as one person."""

    url: str
    token: str

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, json=body)

    def knows(self, path: str) -> bool:
        return self._answer("GET", path).is_success

    def list_people(self, incident: str) -> None:
        path, headers = f"/v1/incidents/{incident}/principals", {"Content-Type": "text/csv"}
        self._ask("POST", path, content=_CUSTOMERS.encode(), headers=headers)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self._answer(method, path, **more)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def _answer(self, method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return httpx2.request(method, f"{self.url}{path}", headers=headers, timeout=30, **more)


def _to(troupe: Cast, service: str, sub: str) -> Caller:
    return Caller(troupe.status.http[service], troupe.token(sub))


def values() -> list[str]:
    """What must be nowhere."""
    people = [person for _, person in companies().everyone() if person.sub in (_HOLDER, _TELLER)]
    (phone,) = [phone for phone in fleet()[cast.ORGANISATION] if phone.asset_tag == _DEVICE]
    named = [name for person in people for name in (person.name, person.email)]
    numbers = [phone.serial, phone.imei, phone.phone_number, str(phone.position.latitude)]
    return [*named, *numbers, *_TOLD.values(), _FACILITY, "長谷川 楓", "kaede@customers.example"]


def erase(place: Place, folder: Path) -> Erased:
    """Refused while the case goes on, then done; with evidence of before and after."""
    troupe = Cast(place.status, Installation.read(place.data_dir))
    privacy, lead = _to(troupe, "reporter", cast.PRIVACY), _to(troupe, "reporter", cast.APPROVER)
    incident = _lose_a_phone(troupe)
    asked = {"digests": _digests(lead.get(f"/v1/incidents/{incident}")), "reason": "evidence"}
    opened = privacy.post("/v1/disclosures", asked)
    evidence = _evidence(place, incident, folder / "before.zip", asked["digests"])

    people = [privacy.post("/v1/people/search", {"employee_id": sub})["person"] for sub in (_HOLDER, _TELLER)]
    listed = _to(troupe, "notifier", cast.PRIVACY).post("/v1/principals/search", {"mail": "kaede@customers.example"})
    people += [found["person"] for found in listed["people"]]
    said = [_erase(privacy, people[0])]
    _until(lambda: all(duty["ended"] for duty in lead.get(f"/v1/incidents/{incident}")["duties"]), "no duty is open")
    lead.post(f"/v1/incidents/{incident}/cancel", {"reason": "found_before_exposure"})
    _retire(troupe, lead, incident)
    said += [_erase(privacy, person) for person in people]
    _until(lambda: _recorded(place) >= len(said), "the erasures are recorded")
    return Erased(
        incident,
        said,
        (opened, privacy.post("/v1/disclosures", asked)),
        (evidence, _evidence(place, incident, folder / "after.zip", asked["digests"])),
        _dump(place, folder / "lostphone.sql"),
        _pages(troupe, incident),
    )


def _lose_a_phone(troupe: Cast) -> str:
    """It is located, a customer's list is there, and the desk wrote about it."""
    body = {"reported_as": "proxy", "phone": _DEVICE, "cause": "left_behind", "place": "train", **_TOLD}
    incident: str = _to(troupe, "reporter", _TELLER).post("/v1/reports", body)["incident"]
    desk, told = _to(troupe, "reporter", cast.DESK), _to(troupe, "notifier", cast.PRIVACY)
    facility = {"facility": "train", "name": _FACILITY, "outcome": "contacted"}
    desk.post(f"/v1/incidents/{incident}/facility", facility)
    desk.post(f"/v1/incidents/{incident}/police", {"kind": "lost_property"})
    _until(lambda: desk.get(f"/v1/incidents/{incident}")["tracks"]["locate"]["position"], "it is located")
    _until(lambda: told.knows(f"/v1/incidents/{incident}/duties"), "the notifier has heard of it")
    told.list_people(incident)
    return incident


def _digests(case: dict[str, Any]) -> list[str]:
    found = [case["facts"][name] for name in (*_TOLD, "phone_hint")]
    return sorted([*filter(None, found), case["tracks"]["locate"]["position"], case["facilities"][0]["name"]])


def _retire(troupe: Cast, desk: Caller, incident: str) -> None:
    device = desk.get(f"/v1/incidents/{incident}")["device"]["device"]
    _to(troupe, "mdm_actions", cast.OPERATOR).post(f"/v1/devices/{device}/retire", {"reason": "contract_ended"})
    _until(lambda: desk.get(f"/v1/incidents/{incident}")["device"]["retired"], "the phone left the inventory")


def _erase(privacy: Caller, person: str) -> dict[str, Any]:
    said: dict[str, Any] = privacy.post(f"/v1/people/{person}/erasure", {"ground": "request_of_the_person"})
    return said


def _recorded(place: Place) -> int:
    kafka, topic = {"bootstrap.servers": place.status.kafka.bootstrap}, "lostphone.personal-data-erased.v1"
    return sum(topic_reader.ends(kafka, topic).values())


def _evidence(place: Place, incident: str, file: Path, digests: list[str]) -> Path:
    place.done("ops", "evidence", incident, "--out", str(file), *(part for one in digests for part in ("--show", one)))
    return file


def _dump(place: Place, file: Path) -> Path:
    """Every table of ours. What the MDM server keeps of its phones' answers is the MDM server's."""
    run("pg_dump", place.superuser_dsn, f"--file={file}")
    return file


def in_vault(place: Place, owners: list[str]) -> int:
    """How many keys and values of these are there."""

    async def count() -> int:
        connection = await asyncpg.connect(place.superuser_dsn)
        try:
            kept = "SELECT count(*) FROM vault.{} WHERE person = ANY ($1)"
            return sum([await connection.fetchval(kept.format(table), owners) for table in ("box", "person_key")])
        finally:
            await connection.close()

    return asyncio.run(count())


def _pages(troupe: Cast, incident: str) -> dict[str, str]:
    """What people and programs are shown now."""
    http = troupe.status.http
    shown = {
        f"{http['reporter']}/incidents/{incident}": cast.DESK,
        f"{http['reporter']}/v1/incidents/{incident}": cast.PRIVACY,
        f"{http['audit']}/incidents/{incident}": cast.AUDITOR,
        f"{http['audit']}/v1/incidents/{incident}/timeline": cast.AUDITOR,
        **{f"{http['notifier']}/incidents/{incident}/{name}": cast.PRIVACY for name in ("duties", "filing", "notices")},
        f"{http['mdm_actions']}/v1/incidents/{incident}/commands": cast.DESK,
        f"{http['mdm_actions']}/v1/devices": cast.OPERATOR,
        **{f"{url}/metrics": cast.OPERATOR for url in http.values()},
    }
    pages = {}
    for url, sub in shown.items():
        answer = httpx2.get(url, headers={"Authorization": f"Bearer {troupe.token(sub)}"}, timeout=30)
        assert answer.is_success, f"{url}: {answer.status_code} {answer.text[:300]}"
        pages[url] = answer.text
    return pages


def _until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def found(erased: Erased, place: Place) -> set[tuple[str, str]]:
    """Where something is that was erased."""
    return {
        (name, value)
        for name, text in erased.places(place)
        for value in values()
        if any(form.encode() in text for form in (value, json.dumps(value)[1:-1], value.encode().hex()))
    }
