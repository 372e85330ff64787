"""Requests in: the standard tlog-tiles files, proofs, and the timeline for programs and for people.

Checkpoint, hash tiles and proofs are public: leaf hashes are blinded. Entries are not.
"""

import asyncio
import base64
import gzip
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi import Path as InPath
from pydantic import BeforeValidator
from starlette.responses import PlainTextResponse, Response

from services.audit.evidence.desk import EvidenceDesk, EvidenceRequest
from services.audit.reader import LogReader, Published
from services.audit.selection import Selection, actors, names
from services.audit.story import Story, tell
from services.audit.tlog import Proofs, TilePath
from shared.web import Identity, Pages, Person, Problem, Role
from shared.web.number import Number

_HERE = Path(__file__).parent / "pages"
_OCTETS = "application/octet-stream"


class _Octets(Response):
    media_type = _OCTETS


class _Zip(Response):
    media_type = "application/zip"


_FOR_EVER = "public, max-age=31536000, immutable"
_FOR_EVER_PRIVATE = "private, max-age=31536000, immutable"
_MAX_SEQ = 2**53 - 1
_LIGHTLY = 1
"""Of nine: a bundle becomes a fifth of its size; six take twice as long for a sixth less."""
_NOT = re.compile(r"q=0(\.0*)?")

READERS = (Role.DESK, Role.APPROVER, Role.LEAD, Role.PRIVACY, Role.EXECUTIVE, Role.PR, Role.AUDITOR)
"""Who reads timelines, each of the own organisation."""

_HANDS_OUT = (Role.PRIVACY, Role.AUDITOR)
_SUBJECT = r"^[A-Za-z0-9_.-]{1,100}$"

type Seq = Annotated[Number, Query(ge=0, le=_MAX_SEQ)]
type Word = Annotated[str, Query(max_length=100)]
type Given[T] = Annotated[T | None, BeforeValidator(lambda value: value or None)]
"""A field of a form: left empty, it is sent all the same."""


def routes(app: FastAPI, reader: LogReader, identity: Identity, operator: str | None) -> None:
    """Add the faces of the log. `operator`: the organisation whose auditors may read all of it."""
    _standard(app, reader, identity, operator)
    _proofs(app, reader, identity, operator)
    _timelines(app, reader, identity)


def _standard(app: FastAPI, reader: LogReader, identity: Identity, operator: str | None) -> None:
    auditor = identity.require(Role.AUDITOR)

    @app.get("/checkpoint", response_class=PlainTextResponse)
    async def checkpoint() -> Response:
        """The newest signed checkpoint (c2sp.org/tlog-checkpoint)."""
        published = await _newest(reader)
        return Response(published.note, media_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-cache"})

    @app.get("/tile/entries/{rest:path}", response_class=_Octets)
    async def bundle(request: Request, rest: str, person: Annotated[Person, Depends(auditor)]) -> Response:
        """A bundle of entries of the whole log, for auditors of the installation's operator; compressed for who takes
        gzip."""
        _whole_log(person, operator)
        plain = await _tile(reader, f"tile/entries/{rest}", _FOR_EVER_PRIVATE)
        return await _compressed(request, plain)

    @app.get("/tile/{rest:path}", response_class=_Octets)
    async def tile(rest: str) -> Response:
        """A tile of hashes."""
        return await _tile(reader, f"tile/{rest}", _FOR_EVER)

    @app.get("/detached/{sha256}", response_class=_Octets)
    async def detached(sha256: str, person: Annotated[Person, Depends(auditor)]) -> Response:
        """What was too long for its leaf, by its SHA-256 in hex."""
        _whole_log(person, operator)
        digest = bytes.fromhex(sha256) if len(sha256) == 64 and set(sha256) <= set("0123456789abcdef") else b""
        data = await reader.detached(digest)
        if data is None:
            raise _not_there()
        return Response(data, media_type=_OCTETS, headers={"Cache-Control": _FOR_EVER_PRIVATE})


def _proofs(app: FastAPI, reader: LogReader, identity: Identity, operator: str | None) -> None:
    @app.get("/v1/entries/{seq}", response_class=_Octets)
    async def entry(seq: Number, person: Annotated[Person, Depends(identity.require(*READERS))]) -> Response:
        """The exact bytes of one entry, of the reader's organisation."""
        row = await reader.entry(seq) if 0 <= seq <= _MAX_SEQ else None
        whole = Role.AUDITOR in person.roles and person.organisation == operator
        if row is None or not (whole or row["organisation"] == person.organisation):
            raise _not_there()
        return Response(row["leaf"], media_type=_OCTETS, headers={"Cache-Control": _FOR_EVER_PRIVATE})

    @app.get("/v1/entries/{seq}/proof", response_class=PlainTextResponse)
    async def proof(seq: Number, size: Seq | None = None) -> Response:
        """A tlog-proof: this entry is in the log of the newest checkpoint, or of the one of `size`."""
        published = await _checkpoint(reader, size)
        if not 0 <= seq < published.size:
            raise _not_there()
        return PlainTextResponse(
            bytes(await reader.proof(seq, published)),
            headers={"Content-Disposition": f'inline; filename="entry-{seq}.tlog-proof"'},
        )

    @app.get("/v1/consistency", response_class=PlainTextResponse)
    async def consistency(
        start: Annotated[Number, Query(alias="from", ge=1, le=_MAX_SEQ)],
        to: Annotated[Number, Query(ge=1, le=_MAX_SEQ)],
    ) -> Response:
        """Proof lines, base64: the log of size `to` begins with the log of size `from`."""
        published = await _newest(reader)
        if not start <= to <= published.size:
            raise Problem(
                400,
                "sizes_out_of_range",
                ja=f"from ≦ to ≦ {published.size}（公開済みの最新の大きさ）で指定してください。",
                en=f"Give from ≤ to ≤ {published.size}, the newest published size.",
            )
        hashes = await reader.hashes(to, Proofs(to).consistency(start))
        return PlainTextResponse("".join(f"{base64.b64encode(item).decode()}\n" for item in hashes))


def _timelines(app: FastAPI, reader: LogReader, identity: Identity) -> None:
    pages = Pages(_HERE, _HERE / "words.yaml")
    member = identity.require(*READERS)

    @app.get("/v1/incidents/{subject}/timeline")
    async def timeline(
        subject: str, person: Annotated[Person, Depends(member)], size: Seq | None = None
    ) -> dict[str, Any]:
        """All entries of one incident as of the newest checkpoint, or of the one of `size`."""
        return (await _story(reader, subject, person, size)).document()

    @app.get("/incidents/{subject}", include_in_schema=False)
    async def page(
        request: Request,
        subject: str,
        *,
        person: Annotated[Person, Depends(member)],
        size: Given[Seq] = None,
        name: Given[Word] = None,
        by: Given[Word] = None,
        since: Given[date] = None,
        until: Given[date] = None,
        only: Given[Word] = None,
    ) -> Response:
        story = await _story(reader, subject, person, size)
        selection = Selection(name, by, since, until, only)
        return pages.render(
            request,
            "timeline.html",
            story=story,
            size=size,
            steps=selection.steps(story, pages.zone),
            selection=selection,
            names=names(story),
            actors=actors(story),
        )


async def _story(reader: LogReader, subject: str, person: Person, size: int | None) -> Story:
    if await reader.organisation(subject) != person.organisation:
        raise _not_there()
    published = await _checkpoint(reader, size)
    rows = await reader.chain(subject, published.size)
    story = tell(subject, person.organisation, published.size, rows)
    elsewhere = await reader.places(sorted(story.unknown_causes()), person.organisation)
    return story.with_causes({event_id: seq for event_id, seq in elsewhere.items() if seq < published.size})


async def _tile(reader: LogReader, wanted: str, caching: str) -> Response:
    path = TilePath.parse(wanted)
    data = await reader.tile(path) if path is not None else None
    if data is None:
        raise _not_there()
    return Response(data, media_type=_OCTETS, headers={"Cache-Control": caching})


async def _compressed(request: Request, plain: Response) -> Response:
    plain.headers["Vary"] = "Accept-Encoding"
    if not _takes_gzip(request.headers.get("Accept-Encoding", "")):
        return plain
    # Beside the writer, which would wait for it.
    data = await asyncio.to_thread(gzip.compress, bytes(plain.body), _LIGHTLY, mtime=0)
    headers = {name: plain.headers[name] for name in ("Cache-Control", "Vary")}
    return Response(data, media_type=_OCTETS, headers=headers | {"Content-Encoding": "gzip"})


def _takes_gzip(accepted: str) -> bool:
    codings = (part.lower().partition(";") for part in accepted.split(","))
    weights = [weight for coding, _, weight in codings if coding.strip() == "gzip"]
    return bool(weights) and not _NOT.fullmatch(weights[0].replace(" ", ""))


async def _newest(reader: LogReader) -> Published:
    published = await reader.newest()
    if published is None:
        raise Problem(
            503,
            "no_checkpoint",
            ja="まだ署名済みのチェックポイントがありません。数秒後にもう一度お試しください。",
            en="No checkpoint has been signed yet. Try again in a few seconds.",
        )
    return published


async def _checkpoint(reader: LogReader, size: int | None) -> Published:
    published = await _newest(reader) if size is None else await reader.checkpoint(size)
    if published is None:
        raise Problem(
            404,
            "no_such_checkpoint",
            ja=f"大きさ {size} のチェックポイントは公開されていません。",
            en=f"No checkpoint of size {size} was published.",
        )
    return published


def _whole_log(person: Person, operator: str | None) -> None:
    if operator is None or person.organisation != operator:
        raise Problem(
            403,
            "whole_log_is_the_operators",
            ja="ログ全体を読めるのは、運用組織の監査担当だけです。自組織の記録はタイムラインから読めます。",
            en="Only auditors of the operating organisation read the whole log. Read your own as timelines.",
        )


def _not_there() -> Problem:
    return Problem(404, "not_found", ja="見つかりません。", en="There is no such thing here.")


def evidence_routes(
    app: FastAPI, reader: LogReader, identity: Identity, desk: EvidenceDesk, operator: str | None
) -> None:
    """Add the door by which evidence leaves."""

    @app.post("/v1/incidents/{subject}/evidence", response_class=_Zip)
    async def evidence(
        subject: Annotated[str, InPath(pattern=_SUBJECT)],
        asked: EvidenceRequest,
        person: Annotated[Person, Depends(identity.require(*_HANDS_OUT))],
    ) -> Response:
        """A bundle of evidence, for privacy officers and auditors of the incident's organisation. That there is no such
        incident is proved to the operator's auditors: its neighbours in the index may be others'."""
        organisation = await reader.organisation(subject)
        whole = Role.AUDITOR in person.roles and person.organisation == operator
        theirs = organisation == person.organisation if organisation is not None else whole
        if not theirs:
            raise _not_there()
        role = next(role for role in _HANDS_OUT if role in person.roles)
        archive = await desk.hand_out(subject, person.organisation, asked, person.actor(role))
        name = f"evidence-{subject}.zip"
        return Response(
            archive,
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )


def policy_route(app: FastAPI, policy: str) -> None:
    """Add the policy file of the log."""

    @app.get("/v1/policy", response_class=PlainTextResponse)
    async def log_policy() -> Response:
        """Keys of the log and of its witnesses (c2sp.org/tlog-policy). Compare it with one from elsewhere."""
        return PlainTextResponse(policy)
