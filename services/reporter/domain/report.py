"""Reports: what makes one acceptable, how it opens an incident, how later facts change it.

Three answers are enough: who held the phone, which phone or line, and a way to call back that is not that phone.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from services.reporter.domain.incident import (
    By,
    Decision,
    Incident,
    LineTrack,
    LocateTrack,
    RefusedError,
    Status,
    Track,
    Tracks,
)
from shared.events.payload import Answer, Payload, ToldInstant
from shared.events.reporter import (
    Attached,
    Cause,
    DataItem,
    DeviceLost,
    Door,
    IncidentReopened,
    LossFacts,
    LossReportAmended,
    Place,
    ReportedAs,
    ReportVerified,
)

MAX_AMENDMENTS = 300
CLOCK_SKEW = timedelta(minutes=5)
FOUND_CLAIMED = "found_claimed"

type Words = Annotated[str, Field(min_length=1, max_length=200)]
type Story = Annotated[str, Field(min_length=1, max_length=4000)]
type YesNo = Literal["yes", "no", "unknown"]

FREE_TEXT = ("phone", "holder_name", "callback", "place_detail", "circumstances")
"""Answers whose words go to the vault; events carry commitments to them."""


class Answers(BaseModel):
    """What may be told about a loss, at first or later. Everything is optional here."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    noticed_at: ToldInstant | None = None
    last_seen_from: ToldInstant | None = None
    last_seen_to: ToldInstant | None = None
    cause: Cause | None = None
    intoxication: YesNo | None = None
    malicious_intent: YesNo | None = None
    place: Place | None = None
    place_detail: Words | None = None
    circumstances: Story | None = None
    passcode_set: YesNo | None = None
    passcode_attached: YesNo | None = None
    attached: list[Attached] | None = Field(None, max_length=10)
    data_items: list[DataItem] | None = Field(None, max_length=20)
    holder_name: Words | None = None
    callback: Words | None = None

    def words(self) -> dict[str, str]:
        """The free text that was given, by name."""
        given = ((name, getattr(self, name, None)) for name in FREE_TEXT)
        return {name: value for name, value in given if value}

    def coded(self) -> dict[str, Any]:
        """The answers that are facts as they stand."""
        given = self.model_dump(exclude_none=True, exclude={*FREE_TEXT, *_NOT_FACTS})
        return {name: value for name, value in given.items() if name in LossFacts.model_fields}

    def must_be_past(self, now: datetime) -> None:
        """Raises `RefusedError` when something is said to have happened in the future."""
        for name in ("noticed_at", "last_seen_from", "last_seen_to"):
            moment = getattr(self, name)
            if moment is not None and moment > now + CLOCK_SKEW:
                raise RefusedError("moment_in_future", field=name)


class Report(Answers):
    """A first report, through either door."""

    reported_as: Literal["holder", "proxy"]
    phone: Words | None = Field(None, description="Number, asset tag, serial, IMEI, or words: which phone or line.")
    device: str | None = Field(None, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    locale: Literal["ja", "en"] = "ja"
    drill: StrictBool = False


_NOT_FACTS = ("reported_as", "device", "locale", "drill")


def must_be_complete(report: Report, *, signed_in: bool) -> None:
    """Raises `RefusedError` naming the answers of the three that are missing."""
    holder_known = report.holder_name is not None or (signed_in and report.reported_as == "holder")
    missing = [
        name
        for name, given in (
            ("holder_name", holder_known),
            ("phone", report.phone is not None or report.device is not None),
            ("callback", report.callback is not None),
        )
        if not given
    ]
    if missing:
        raise RefusedError("answers_missing", missing=missing)
    if report.callback and report.phone and same_number(report.callback, report.phone):
        raise RefusedError("callback_is_the_lost_phone", field="callback")


def digits(text: str) -> str:
    """A phone number without punctuation, in national form: +81 90 and 090 are one number."""
    bare = re.sub(r"[^0-9+]", "", unicodedata.normalize("NFKC", text))
    return re.sub(r"^(\+81|0081|81(?=[789]0[0-9]{8}$))0?", "0", bare).lstrip("+")


def same_number(one: str, other: str) -> bool:
    """Whether two texts name the same phone number."""
    first = digits(one)
    return len(first) >= 8 and first == digits(other)


def is_number(text: str) -> bool:
    """Whether a text names a phone by a number rather than by words."""
    return len(digits(text)) >= 8


def search_terms(text: str) -> list[str]:
    """The forms under which a phone may stand in the lookup index."""
    tidy = re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", text)).upper()
    terms = [f"word:{tidy}"] if 3 <= len(tidy) <= 80 else []
    return [f"number:{digits(text)}", *terms] if is_number(text) else terms


def accept(incident_id: str, organisation: str, report: Report, facts: LossFacts, by: By, *, door: Door) -> Decision:
    """A new incident from a complete report."""
    signed_in = door is Door.SIGNED_IN
    incident = Incident(
        id=incident_id,
        organisation=organisation,
        drill=report.drill,
        door=door,
        reported_as=ReportedAs(report.reported_as),
        reporter=by.person,
        reported_at=by.at,
        locale=report.locale,
        facts=facts,
        verified_at=by.at if signed_in else None,
        verified_by="signed_in" if signed_in else None,
    )
    told = DeviceLost(
        door=door,
        reported_as=incident.reported_as,
        reporter=by.person,
        reported_at=by.at,
        locale=report.locale,
        **_fields(facts),
    )
    return Decision(incident, (told,))


def join(incident: Incident, facts: LossFacts, *, signed_in: bool, by: By) -> Decision:
    """A second report of the same loss. It fills what was unknown and never overwrites; both reports are kept.

    A signed-in report vouches for an emergency report of the same phone that still waits for the desk; an emergency
    report adds nothing to a case that is verified, until the desk made sure of it as well.
    """
    counts = signed_in or not incident.verified
    decision = _change(incident, _unknown_only(incident.facts, facts) if counts else {}, by.at, merged=True)
    joined = decision.incident.model_copy(update={"reports": incident.reports + 1})
    decision = Decision(joined, decision.events)
    if signed_in and not incident.verified:
        decision = decision.then(_verified(joined, "signed_in_report", by.at))
    return decision


def amend(
    incident: Incident, update: Mapping[str, Any], by: By, *, overwrite: bool = True, known_at: datetime | None = None
) -> Decision:
    """Changed facts. Without `overwrite` only what was unknown is filled in; what does not change is no event.

    Raises `RefusedError` when the case has ended, or was changed too often.
    """
    incident.must_be_open()
    if incident.amendments >= MAX_AMENDMENTS:
        raise RefusedError("too_many_amendments", limit=MAX_AMENDMENTS)
    if known_at is not None and known_at > by.at + CLOCK_SKEW:
        raise RefusedError("moment_in_future", field="known_at")
    if not overwrite:
        update = _unknown_only(incident.facts, incident.facts.model_copy(update=dict(update)))
    return _change(incident, update, known_at or by.at, merged=False)


def claim_found(incident: Incident, by: By, *, trusted: bool) -> Decision:
    """The reporter says "I found it". It is a claim: the desk confirms the recovery. A closed case opens again."""
    if incident.recovered is not None or incident.ended is Status.CANCELLED:
        raise RefusedError("already_recovered")
    decision = Decision(incident)
    if incident.ended is not None:
        if not trusted:
            raise RefusedError("incident_ended", status=incident.ended.value)
        decision = reopened(incident, FOUND_CLAIMED)
    claimed = decision.incident.model_copy(
        update={"found_claimed_at": by.at, "amendments": decision.incident.amendments + 1}
    )
    told = LossReportAmended(changed=[FOUND_CLAIMED], merged=False, known_at=by.at, **_fields(claimed.facts))
    return Decision(claimed, (*decision.events, told))


def reopened(incident: Incident, reason: str) -> Decision:
    """An ended case goes on."""
    if incident.ended is None:
        raise RefusedError("incident_open")
    return Decision(open_again(incident), (IncidentReopened(reason=reason),))


def open_again(incident: Incident) -> Incident:
    """The case without its end."""
    return incident.model_copy(update={"ended": None, "ended_at": None, "outcome": None})


def verify(incident: Incident, method: str, by: By) -> Decision:
    """The desk made sure that an emergency report is genuine."""
    incident.must_be_open()
    if incident.verified:
        raise RefusedError("already_verified")
    return _verified(incident, method, by.at)


def trust(incident: Incident, facts: LossFacts, by: By) -> Decision:
    """The desk made sure of a further emergency report: what it says about unknown things counts from now on."""
    incident.must_be_open()
    return _change(incident, _unknown_only(incident.facts, facts), by.at, merged=False)


def _verified(incident: Incident, method: str, at: datetime) -> Decision:
    verified = incident.model_copy(update={"verified_at": at, "verified_by": method})
    return Decision(verified, (ReportVerified(method=method, verified_at=at),))


def _change(incident: Incident, update: Mapping[str, Any], known_at: datetime, *, merged: bool) -> Decision:
    facts = LossFacts.model_validate(_fields(incident.facts) | dict(update))
    changed = [name for name in LossFacts.model_fields if getattr(facts, name) != getattr(incident.facts, name)]
    if not changed and not merged:
        return Decision(incident)
    told: Payload = LossReportAmended(changed=changed, merged=merged, known_at=known_at, **_fields(facts))
    return Decision(amended(incident, facts, changed), (told,))


def amended(incident: Incident, facts: LossFacts, changed: Sequence[str]) -> Incident:
    """The case with these facts, of which those named `changed` differ from before."""
    moved = bool({"device", "holder"} & set(changed))
    return incident.model_copy(
        update={
            "facts": facts,
            "amendments": incident.amendments + 1,
            "decision_version": incident.decision_version + moved,
            "tracks": _of_what_is_lost(incident, facts.holder, changed),
            "reassess": incident.reassess or bool(incident.assessments and _DECIDING.intersection(changed)),
        }
    )


def _of_what_is_lost(incident: Incident, holder: str | None, changed: Sequence[str]) -> Tracks:
    """The tracks without what was heard of another phone, or of another holder's sessions."""
    anew: dict[str, object] = {}
    if "device" in changed:
        anew |= {"plan": None, "protection": None, "misuse": ()}
        anew |= {"lock": Track(), "locate": LocateTrack(), "line": LineTrack()}
    if "holder" in changed:
        before = incident.facts.holder
        sessions = incident.tracks.sessions.items()
        anew |= {"sessions": {name: of for name, of in sessions if (of.holder or before) in (None, holder)}}
    return incident.tracks.model_copy(update=anew)


_DECIDING = frozenset(
    {"device", "cause", "malicious_intent", "place", "passcode_set", "passcode_attached", "attached", "data_items"}
)
"""A change of these calls for a new version of the assessment."""


def _unknown_only(current: LossFacts, offered: LossFacts) -> dict[str, Any]:
    """What `offered` says about things that `current` does not know. The call-back stays the first reporter's."""
    return {
        name: getattr(offered, name)
        for name in LossFacts.model_fields
        if _is_unknown(getattr(current, name)) and not _is_unknown(getattr(offered, name))
    }


def _is_unknown(value: object) -> bool:
    return value is None or value == [] or value in (Answer.UNKNOWN, Cause.UNKNOWN, Place.UNKNOWN)


def facts_of(told: LossFacts) -> LossFacts:
    """The facts in an event that tells more than them."""
    return LossFacts.model_validate(_fields(told))


def _fields(facts: LossFacts) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in LossFacts.model_fields}
