"""Puts a bundle together out of what is published: the files of one incident's evidence.

The bundle is a function of the entries, the checkpoint and the export: made again from the same, it is the same bytes.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.audit.clerk import Export
from services.audit.domain.leaf import Kind, canonical, open_leaf
from services.audit.evidence.text import readme, timeline_page
from services.audit.evidence.verify import BUNDLE_FORMAT, pack
from services.audit.reader import LogReader, Published
from services.audit.tlog import Checkpoint, LogKey, Proofs, SignedNote
from services.audit.tlog.note import Signature

GENERATOR = "lostphone audit 1"
_VERIFIER = Path(__file__).with_name("verify.py")
MAX_PREVIOUS = 20
"""Earlier checkpoints in one bundle."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One field that was asked for. `disclosure` is None when the vault does not have it any more."""

    digest: str
    disclosure: str | None
    erased_by: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bundle is made of, beside the log itself."""

    export: Export
    published: Published
    policy: str
    shown: Mapping[int, Sequence[Shown]] = field(default_factory=dict)
    """By the entry that commits to them."""
    previous: Sequence[int] = ()
    """Sizes of checkpoints that the reader holds already."""


class Assembly:
    """Collects the files of one bundle."""

    def __init__(self, reader: LogReader, key: LogKey, wanted: Wanted) -> None:
        self._reader = reader
        self._key = key
        self._wanted = wanted
        self._files: dict[str, bytes] = {}
        self._leaves: dict[int, tuple[bytes, bytes | None]] = {}

    async def build(self) -> bytes:
        """The archive. `wanted.published` covers the export. Raises `ValueError` otherwise."""
        wanted = self._wanted
        export = wanted.export
        if wanted.published.size <= export.seq:
            raise ValueError(f"the checkpoint of {wanted.published.size} does not cover the export {export.seq}")
        await self._entries()
        await self._timestamps()
        for size in sorted(set(wanted.previous))[:MAX_PREVIOUS]:
            await self._previous(size)
        self._index()
        self._gaps()
        self._disclosures()
        self._files["checkpoint"] = wanted.published.note
        self._files["policy.txt"] = wanted.policy.encode()
        self._files["verify.py"] = _VERIFIER.read_bytes()
        self._files["README.txt"] = readme(export).encode()
        self._files["timeline.html"] = timeline_page(export, wanted.published, self._chain(), wanted.shown).encode()
        self._manifest()
        return pack(self._files)

    async def _entries(self) -> None:
        export = self._wanted.export
        rows = await self._reader.chain(export.incident, export.size)
        for row in rows:
            await self._add(row["seq"], row["leaf"], row["detached"])
        streams = {_stream(row["leaf"]) for row in rows} - {None}
        last = max((row["seq"] for row in rows), default=-1)
        first = min((row["seq"] for row in rows), default=0)
        for row in await self._reader.own(Kind.GAP, first, last):
            if _stream(row["leaf"]) in streams:
                await self._add(row["seq"], row["leaf"], None)
        for seq in (export.size, export.seq):
            found = await self._reader.leaf(seq)
            await self._add(seq, found, None)
        erased = {seq for fields in self._wanted.shown.values() for shown in fields for seq in shown.erased_by}
        for seq in sorted(erased):
            # Right before it stands the event that says so, which a service signed.
            for at in (seq - 1, seq):
                await self._add(at, await self._reader.leaf(at), None)
        for row in await self._reader.own(Kind.KEY, 0, self._wanted.published.size - 1):
            await self._add(row["seq"], row["leaf"], None)
            self._files[f"keys/{row['seq']}.leaf"] = row["leaf"]

    async def _add(self, seq: int, leaf: bytes, detached: bytes | None) -> None:
        self._leaves[seq] = (leaf, detached)
        self._files[f"entries/{seq}.leaf"] = leaf
        if detached is not None:
            self._files[f"entries/{seq}.detached"] = detached
        self._files[f"proofs/{seq}.tlog-proof"] = bytes(await self._reader.proof(seq, self._wanted.published))

    async def _timestamps(self) -> None:
        for row in await self._reader.timestamps(self._wanted.published.size):
            await self._add(row["seq"], row["leaf"], None)
            await self._previous(row["size"])
            self._files[f"timestamps/{row['size']}.tsr"] = row["response"]

    async def _previous(self, size: int) -> None:
        newest = self._wanted.published.size
        published = await self._reader.checkpoint(size)
        if published is not None and 0 < size <= newest:
            self._files[f"previous/{size}"] = published.note
        # The proof holds for a note that only the reader has: a restore does not bring all of them back.
        if size < newest:
            hashes = await self._reader.hashes(newest, Proofs(newest).consistency(size))
            self._files[f"consistency/{size}-{newest}"] = "".join(f"{line}\n" for line in _base64(hashes)).encode()

    def _index(self) -> None:
        rows = [
            {"at": proof.at, "line": proof.row.line().decode(), "proof": _base64(proof.hashes)}
            for proof in self._wanted.export.proofs
        ]
        self._files["index/rows.json"] = canonical({"rows": rows})

    def _gaps(self) -> None:
        parts: dict[tuple[str, int], dict[str, Any]] = {}
        for seq, (leaf, detached) in sorted(self._leaves.items()):
            opened = open_leaf(leaf, detached)
            if "s" not in opened.header:
                continue
            topic, partition, offset = (opened.header[name] for name in "spo")
            part = parts.setdefault(
                (topic, partition), {"topic": topic, "partition": partition, "entries": [], "gaps": []}
            )
            if opened.kind is Kind.GAP:
                part["gaps"].append([offset, opened.header["end"], seq])
            else:
                part["entries"].append([offset, seq])
        self._files["gaps.json"] = canonical({"partitions": [part for _, part in sorted(parts.items())]})

    def _disclosures(self) -> None:
        for seq, fields in self._wanted.shown.items():
            said = [
                {"digest": shown.digest, "disclosure": shown.disclosure, "erased_by": list(shown.erased_by)}
                for shown in sorted(fields, key=lambda shown: shown.digest)
            ]
            self._files[f"disclosures/{seq}.json"] = canonical({"fields": said})

    def _chain(self) -> list[dict[str, Any]]:
        """The incident's entries out of the files of the bundle, as `story.tell` takes them."""
        rows: list[dict[str, Any]] = []
        for seq, (leaf, detached) in sorted(self._leaves.items()):
            header = open_leaf(leaf, detached).header
            if header.get("i") == self._wanted.export.incident:
                rows.append(
                    {
                        "seq": seq,
                        "n": header["n"],
                        "kind": header.get("of") or header["k"],
                        "leaf_hash": hashlib.sha256(b"\x00" + leaf).digest(),
                        "leaf": leaf,
                        "detached": detached,
                    }
                )
        return rows

    def _manifest(self) -> None:
        export = self._wanted.export
        manifest = {
            "format": BUNDLE_FORMAT,
            "generator": GENERATOR,
            "origin": self._key.origin,
            "incident": export.incident,
            "organisation": export.organisation,
            "as_of": export.size,
            "entries": export.row.n if export.row else 0,
            "head": export.row.head.hex() if export.row else None,
            "index": {"seq": export.size},
            "export": export.seq,
            "size": self._wanted.published.size,
            "files": {
                name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
                for name, data in self._files.items()
            },
        }
        data = canonical(manifest)
        self._files["MANIFEST.json"] = data
        # Two lines can never be taken for a checkpoint, which has three.
        text = f"{BUNDLE_FORMAT}\n{hashlib.sha256(data).hexdigest()}\n"
        signature = Signature(self._key.origin, self._key.verifier.keyid, self._key.key.sign(text.encode()))
        self._files["MANIFEST.note"] = bytes(SignedNote(text, (signature,)))


def _stream(leaf: bytes) -> tuple[str, int] | None:
    header = json.loads(leaf[: leaf.index(b"\n")])
    return (header["s"], header["p"]) if "s" in header else None


def _base64(hashes: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(item).decode() for item in hashes]


def covers(published: Published | None, export: Export) -> bool:
    """Whether this checkpoint is new enough for the bundle of an export."""
    return published is not None and Checkpoint.parse(SignedNote.parse(published.note).text).size > export.seq
