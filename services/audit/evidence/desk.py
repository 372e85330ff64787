"""Hands out evidence: logs the export, waits for the checkpoint that covers it, makes the bundle.

This service opens no personal data. A field is shown when somebody who may open it hands in its disclosure: the text
that its commitment is the hash of.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from services.audit.clerk import Clerk, Export
from services.audit.domain.leaf import Opened, open_header, open_leaf
from services.audit.evidence.bundle import MAX_PREVIOUS, Assembly, Shown, Wanted, covers
from services.audit.reader import LogReader, Published
from services.audit.tlog import LogKey
from shared.vault import Disclosure
from shared.web import Problem

WAIT_SECONDS = 20.0
"""How long a bundle waits for the checkpoint that covers its export."""
_POLL_SECONDS = 0.05
_EVERYTHING = 2**53 - 1

type Digest = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]


class EvidenceRequest(BaseModel):
    """What is asked of a bundle."""

    model_config = ConfigDict(extra="forbid")

    disclosures: list[Annotated[str, Field(max_length=131_072, pattern=r"^[A-Za-z0-9_-]+$")]] = Field(
        default_factory=list,
        max_length=200,
        description="RFC 9901 disclosures of fields that the incident's entries commit to.",
    )
    not_there: list[Digest] = Field(
        default_factory=list, max_length=200, description="Commitments that were asked for and have no value any more."
    )
    previous: list[Annotated[int, Field(ge=1, le=_EVERYTHING)]] = Field(
        default_factory=list, max_length=MAX_PREVIOUS, description="Sizes of checkpoints that the reader kept."
    )


class EvidenceDesk:
    """The one way by which evidence leaves."""

    def __init__(self, reader: LogReader, clerk: Clerk, key: LogKey, policy: str) -> None:
        self._reader = reader
        self._clerk = clerk
        self._key = key
        self._policy = policy

    async def hand_out(self, incident: str, organisation: str, asked: EvidenceRequest, actor: str) -> bytes:
        """The archive. Raises `Problem` when a field is not the incident's, or no checkpoint comes."""
        given: dict[str, str | None] = dict.fromkeys(asked.not_there)
        given |= {disclosure.digest: disclosure.text for disclosure in map(_disclosure, asked.disclosures)}
        rows = [(row["seq"], open_leaf(row["leaf"], row["detached"])) for row in await self._chain(incident)]
        places = {digest: seq for seq, opened in reversed(rows) for digest in texts(opened) & given.keys()}
        if missing := sorted(given.keys() - places.keys()):
            raise Problem(
                422,
                "not_in_incident",
                ja="指定の項目は、この案件の記録にありません。",
                en="A field that you name is not committed to by an entry of this incident.",
                digests=missing,
            )
        export = await self._clerk.export(incident, organisation, sorted(given), actor)
        erased = await self._erasures(export, [opened for _, opened in rows])
        shown: dict[int, list[Shown]] = {}
        for digest, seq in sorted(places.items()):
            by = () if given[digest] else tuple(at for at in erased if at > seq)
            shown.setdefault(seq, []).append(Shown(digest, given[digest], by))
        published = await self._published(export)
        return await Assembly(
            self._reader, self._key, Wanted(export, published, self._policy, shown, tuple(asked.previous))
        ).build()

    async def _chain(self, incident: str) -> list[Any]:
        return await self._reader.chain(incident, _EVERYTHING)

    async def _erasures(self, export: Export, opened: Sequence[Opened]) -> list[int]:
        """Where the erasures stand of the people whom the incident names, but for those that destroyed nothing."""
        named = {text for one in opened for text in texts(one)}
        named |= {(one.attribute("actor") or "").partition("/")[0] for one in opened}
        headers = [(row["seq"], open_header(row["leaf"])) for row in await self._reader.erasures(export.size)]
        return [
            seq
            for seq, header in headers
            if header["organisation"] == export.organisation and header["person"] in named and header["fields"]
        ]

    async def _published(self, export: Export) -> Published:
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            published = await self._reader.newest()
            if published is not None and covers(published, export):
                return published
            if time.monotonic() > deadline:
                raise Problem(
                    503,
                    "no_checkpoint_yet",
                    ja="この時点を含むチェックポイントがまだ公開されていません。証人の応答を待っています。",
                    en="No checkpoint that covers this moment is published yet: the witnesses are waited for.",
                )
            await asyncio.sleep(_POLL_SECONDS)


def _disclosure(text: str) -> Disclosure:
    try:
        return Disclosure.read(text)
    except (ValueError, UnicodeDecodeError):
        raise Problem(
            422,
            "not_a_disclosure",
            ja="開示文の形式（RFC 9901）ではありません。",
            en="What you hand in is not a disclosure (RFC 9901).",
        ) from None


def texts(opened: Opened) -> set[str]:
    """Every text in what an event says; commitments stand among them."""
    payload = opened.payload()
    try:
        return set(_texts(orjson.loads(payload))) if payload else set()
    except orjson.JSONDecodeError:
        return set()


def _texts(value: Any) -> Iterator[str]:
    left = [value]  # it may nest deeper than one may call
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict | list):
            left += item.values() if isinstance(item, dict) else item
