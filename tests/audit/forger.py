"""A log in memory, and evidence of it, made by whoever holds every key of the log: what a test wants to be a lie is
one, and all the rest fits.

    forger = Forger()
    forger.headers[7]["n"] = 9        # a lie about an entry: `settle` makes the other entries fit, `files` the proofs
    forger.settle()
    files = forger.files()
"""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.domain.leaf import Kind, Leaf, LeafBuilder, Link
from services.audit.domain.own import erasure_facts, key_statement
from services.audit.evidence import verify
from services.audit.tlog import Checkpoint, LogKey, Proofs, SignedNote, TilePath, VerifierKey, WitnessKey
from services.audit.tlog.note import Signature
from services.audit.tlog.tiles import pack_bundle
from shared.events.reporter import PersonalDataErased
from shared.vault import Disclosure
from tests.audit.conftest import BLINDING, LOG_KEYS, ORIGIN
from tests.audit.naive import naive_root, naive_tile
from tests.audit.records import Writers, at, example

INCIDENT = "0192f0c1-0000-7000-8000-00000000000a"
OTHER = "0192f0c1-0000-7000-8000-00000000000b"
PERSON = "person-5f0c7a2e9b1d4c3f8e6a7b9c0d1e2f3a"
SHOWN = Disclosure.of("narrative", "タクシーに置き忘れた")
ERASED = Disclosure.of("contact", "090-0000-0000")
WITNESS = WitnessKey("witness.example/w", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
STRANGER = LogKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"x" * 32))
POLICY = f"log {LOG_KEYS[0].verifier}\nwitness w {WITNESS.verifier}\nquorum w\n"
KEY, INDEX, EXPORT = 10, 11, 12
"""Where these entries stand."""
OLDER = 4
"""The size of an earlier checkpoint, in the bundle and kept by the reader."""


class Forger:
    """The incident: 0 lost, 2 locked, 3 a gap, 6 closed, 7 its seal; beside it another, an erasure and more."""

    def __init__(self, folder: Path) -> None:
        writers, builder = Writers(folder), LeafBuilder(BLINDING)
        _, usual = example("DeviceLost")
        lost = writers.envelope("DeviceLost", INCIDENT, actor=f"{PERSON}/employee")
        payload = usual.model_copy(update={"circumstances": SHOWN.digest, "callback": ERASED.digest})
        self.lost = lost.id

        def event(name: str, subject: str, offset: int, **changes: Any) -> Leaf:
            record = writers.record(name, subject, **changes)
            return builder.record(Kind.EVENT, at(record, 0, offset), link=Link(subject))

        erased = PersonalDataErased.model_validate(example("PersonalDataErased")[0].example)
        erased = erased.model_copy(update={"person": PERSON, "on_hold": False})
        ordered = writers.envelope("PersonalDataErased", "org-acme-kk")
        order = writers.sign("PersonalDataErased", ordered, erased)
        vkeys = [str(STRANGER.verifier)]
        leaves = [
            builder.record(Kind.EVENT, at(writers.sign("DeviceLost", lost, payload), 0, 0), link=Link(INCIDENT)),
            event("DeviceLost", OTHER, 1),
            event("DeviceLocked", INCIDENT, 2, causationid=lost.id),
            builder.gap("lostphone.log.v1", 0, 3, 5, "not_given"),
            builder.record(Kind.EVENT, at(order, 0, 5), link=Link("org-acme-kk")),
            builder.own(Kind.ERASURE, "e", 1, erasure_facts(ordered.id, "acme-kk", ordered.actor, erased)),
            event("IncidentClosed", INCIDENT, 6),
            builder.seal(Link(INCIDENT)),
            event("DeviceLocked", OTHER, 7),
            builder.record(
                Kind.UNVERIFIED, at(writers.record("DeviceLocked", OTHER), 0, 8), reason="signature_invalid"
            ),
            builder.own(
                Kind.KEY, "", 9, {"keys": vkeys, "signed": str(LOG_KEYS[0].verifier), "signature": signed_keys(vkeys)}
            ),
            builder.own(Kind.INDEX, "", INDEX, {"size": 0, "rows": 0, "root": ""}),
            builder.own(Kind.EXPORT, INCIDENT, EXPORT, {"by": "somebody/auditor", "disclosed": []}),
        ]
        self.headers: list[dict[str, Any]] = []
        self.rests: list[bytes] = []
        for leaf in leaves:
            line, self_sep, rest = leaf.data.partition(b"\n")
            self.headers.append(json.loads(line))
            self.rests.append(self_sep + rest)
        self.rows: list[bytes] = []
        self.shown = [0, 2, 3, 4, 5, 6, 7, KEY, INDEX, EXPORT]
        self.fields: dict[int, list[dict[str, Any]]] = {
            0: [
                {"digest": SHOWN.digest, "disclosure": SHOWN.text, "erased_by": []},
                {"digest": ERASED.digest, "disclosure": None, "erased_by": [5]},
            ]
        }
        self.key = LOG_KEYS[0]
        self.settle()

    def leaves(self) -> list[bytes]:
        return [
            verify.canonical(header).rstrip(b"\n") + rest for header, rest in zip(self.headers, self.rests, strict=True)
        ]

    def settle(self) -> None:
        """Let chains, index and export say what the entries are."""
        heads: dict[str, tuple[int, str, int]] = {}
        for seq, header in enumerate(self.headers):
            if header["k"] in verify.IN_CHAINS:
                n, head, _ = heads.get(header["i"], (-1, None, 0))
                header |= {"n": n + 1, "prev": head}
                heads[header["i"]] = (n + 1, verify.leaf_hash(self.leaves()[seq]).hex(), seq)
            if header["k"] == "index":
                self.rows = [
                    verify.index_line(subject, n + 1, head, last) for subject, (n, head, last) in sorted(heads.items())
                ]
                header |= {"size": seq, "rows": len(self.rows), "root": naive_root(self.rows).hex()}
            if header["k"] == "export":
                n, head, _ = heads.get(INCIDENT, (-1, None, 0))
                digests = sorted(field["digest"] for fields in self.fields.values() for field in fields)
                header |= {"incident": INCIDENT, "organisation": "acme-kk", "entries": n + 1, "head": head}
                header |= {"index": seq - 1, "disclosed": digests}

    def note(self, size: int | None = None, *, key: LogKey | None = None, root: bytes | None = None) -> bytes:
        """A checkpoint of the first entries, signed and cosigned."""
        size = len(self.headers) if size is None else size
        checkpoint = Checkpoint(ORIGIN, size, root or naive_root(self.leaves()[:size]))
        signature = (key or self.key).sign(checkpoint, 1)
        return bytes(SignedNote(checkpoint.text(), (signature, WITNESS.cosign(checkpoint.text(), 1))))

    def files(self) -> dict[str, bytes]:
        """The bundle of the incident, without its manifest: `manifest` adds that."""
        leaves, note = self.leaves(), self.note()
        size = len(leaves)
        files = {"checkpoint": note, "policy.txt": POLICY.encode(), f"previous/{OLDER}": self.note(OLDER)}
        files[f"consistency/{OLDER}-{size}"] = proof_lines(leaves, Proofs(size).consistency(OLDER))
        for seq in self.shown:
            files[f"entries/{seq}.leaf"] = leaves[seq]
            head = f"c2sp.org/tlog-proof@v1\nindex {seq}\n".encode()
            files[f"proofs/{seq}.tlog-proof"] = head + proof_lines(leaves, Proofs(size).inclusion(seq)) + b"\n" + note
        rows = [
            {"at": number, "line": line.decode(), "proof": _texts(self.rows, Proofs(len(self.rows)).inclusion(number))}
            for number, line in enumerate(self.rows)
            if json.loads(line)["i"] == INCIDENT
        ]
        files["index/rows.json"] = verify.canonical({"rows": rows})
        files["gaps.json"] = verify.canonical({"partitions": self._partitions()})
        for seq, fields in self.fields.items():
            files[f"disclosures/{seq}.json"] = verify.canonical({"fields": fields})
        return files

    def manifest(self, files: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
        """The files with a manifest of them, signed by the log's key. `changes` are lies in it."""
        export = self.headers[EXPORT]
        listed = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}
        said = {
            "format": verify.BUNDLE_FORMAT, "origin": ORIGIN, "incident": INCIDENT, "organisation": "acme-kk",
            "as_of": INDEX, "entries": export.get("entries"), "head": export.get("head"), "index": {"seq": INDEX},
            "export": EXPORT, "size": len(self.headers), "files": listed, **changes,
        }  # fmt: skip
        data = verify.canonical(said)
        text = f"{verify.BUNDLE_FORMAT}\n{hashlib.sha256(data).hexdigest()}\n"
        return {
            **files,
            "MANIFEST.json": data,
            "MANIFEST.note": bytes(SignedNote(text, (signed_text(self.key, text),))),
        }

    def save(self, folder: Path) -> Path:
        """The whole log, as any client finds it."""
        leaves = self.leaves()
        width = len(leaves)
        hashes = [verify.leaf_hash(leaf) for leaf in leaves]
        written = {
            "checkpoint": self.note(),
            str(TilePath(0, 0, width)): naive_tile(hashes, 0, 0, width),
            str(TilePath(None, 0, width)): pack_bundle(leaves),
        }
        for name, data in written.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder

    def _partitions(self) -> list[dict[str, Any]]:
        part: dict[str, Any] = {"topic": "lostphone.log.v1", "partition": 0, "entries": [], "gaps": []}
        for seq in self.shown:
            header = self.headers[seq]
            if header["k"] == "gap":
                part["gaps"].append([header["o"], header["end"], seq])
            elif "s" in header:
                part["entries"].append([header["o"], seq])
        return [part]


def signed_text(key: LogKey, text: str) -> Signature:
    assert isinstance(key.key, Ed25519PrivateKey)
    return Signature(key.origin, key.verifier.keyid, key.key.sign(text.encode()))


def signed_keys(vkeys: Sequence[str], key: LogKey = LOG_KEYS[0]) -> str:
    """That the log goes on with these keys."""
    assert isinstance(key.key, Ed25519PrivateKey)
    return base64.b64encode(key.key.sign(key_statement(ORIGIN, vkeys))).decode()


def _texts(leaves: Sequence[bytes], ranges: Sequence[tuple[int, int]]) -> list[str]:
    return [base64.b64encode(naive_root(leaves[start:end])).decode() for start, end in ranges]


def proof_lines(leaves: Sequence[bytes], ranges: Sequence[tuple[int, int]]) -> bytes:
    return "".join(f"{line}\n" for line in _texts(leaves, ranges)).encode()


type Lie = Callable[[Forger], object]
KEYS: list[VerifierKey] = [LOG_KEYS[0].verifier]
