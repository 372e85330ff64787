"""The witnesses of the policy: each is shown a checkpoint before anybody else is, and signs that it continues the last
one that it saw (c2sp.org/tlog-witness).

`200` carries cosignatures, a `409` with a size says from where to prove; anything else is a refusal. A witness that
does not answer in time is away: the quorum of the policy says whether that matters.
"""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx2

from services.audit.tlog import Checkpoint, NoteError, Policy, SignedNote
from services.audit.tlog.note import Signature
from services.audit.tlog.policy import Witness
from shared.web.answers import beginning

TIMEOUT_SECONDS = 2.0
"""A slow witness must not hold a checkpoint back for longer."""
MAX_ANSWER_BYTES = 64 * 1024
_MAX_NOTE_BYTES = 10 * 1024
_MAX_PROOF_LINES = 63
_SIZE_TYPE = "text/x.tlog.size"
_ROUNDS = 3
_TIME_BYTES = 8
"""With which a cosignature begins."""

type Prove = Callable[[int], Awaitable[Sequence[bytes]]]
"""The lines that prove that the checkpoint continues the log of this size."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a witness answered in place of its signature."""

    witness: str
    code: str
    """`witness_fork`: it knows a history that this one does not continue; else `witness_refused`."""
    reason: str


@dataclass(slots=True)
class Answers:
    """What all witnesses of the policy said about one checkpoint."""

    signatures: list[Signature] = field(default_factory=list)
    signed: set[str] = field(default_factory=set)
    """Names in the policy whose cosignature verifies."""
    refusals: list[Refusal] = field(default_factory=list)
    away: list[str] = field(default_factory=list)


class _RefusedError(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Witnesses:
    """All witnesses that the policy gives an address for."""

    def __init__(self, policy: Policy, http: httpx2.AsyncClient) -> None:
        self.policy = policy
        self._http = http
        self._places: dict[str, list[Witness]] = {}
        for witness in policy.witnesses.values():
            if witness.url is not None:
                self._places.setdefault(witness.url, []).append(witness)
        self._seen: dict[str, int] = {}

    async def cosign(self, checkpoint: Checkpoint, note: SignedNote, prove: Prove, published: int) -> Answers:
        """Show them the checkpoint, all at once. `note` bears the log's own signatures only; `published` is the size
        that was published last, from which a witness of which nothing else is known is proved to."""
        answers = Answers()
        if len(bytes(note)) > _MAX_NOTE_BYTES:
            raise ValueError("a witness takes checkpoints of at most 10 KiB")
        await asyncio.gather(*(self._ask(url, checkpoint, note, prove, published, answers) for url in self._places))
        return answers

    async def views(self, origin: str) -> list[tuple[str, bytes]]:
        """The newest checkpoint that each witness has seen, with its name; of those that answer."""
        path = f"{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
        found: list[tuple[str, bytes]] = []
        for url, keys in self._places.items():
            try:
                async with (
                    asyncio.timeout(TIMEOUT_SECONDS),
                    self._http.stream("GET", f"{url}/{path}", timeout=TIMEOUT_SECONDS) as answer,
                ):
                    content = await beginning(answer, MAX_ANSWER_BYTES)
            except (httpx2.HTTPError, TimeoutError):
                continue
            if answer.status_code == httpx2.codes.OK and len(content) <= MAX_ANSWER_BYTES:
                found.append((keys[0].key.name, content))
        return found

    async def _ask(  # noqa: PLR0917 - one call
        self, url: str, checkpoint: Checkpoint, note: SignedNote, prove: Prove, published: int, answers: Answers
    ) -> None:
        name = self._places[url][0].key.name
        try:
            lines = await asyncio.wait_for(self._signed(url, checkpoint, note, prove, published), TIMEOUT_SECONDS)
            signed = _verified(self._places[url], note.text, lines)
        except (httpx2.HTTPError, TimeoutError):
            answers.away.append(name)
        except _RefusedError as refused:
            answers.refusals.append(Refusal(name, refused.code, str(refused)))
        else:
            answers.signed.update(signed)
            answers.signatures.extend(signed.values())
            self._seen[url] = checkpoint.size

    async def _signed(
        self, url: str, checkpoint: Checkpoint, note: SignedNote, prove: Prove, published: int
    ) -> tuple[Signature, ...]:
        old = self._seen.get(url, published)
        for _ in range(_ROUNDS):
            request = await _request(old, note, prove)
            async with self._http.stream("POST", f"{url}/add-checkpoint", content=request) as answer:
                content = await beginning(answer, MAX_ANSWER_BYTES)
            if answer.status_code == httpx2.codes.OK:
                return _lines(note.text, content)
            old = _newer(answer, content, checkpoint.size)
        raise _RefusedError("witness_refused", f"it answered 409 {_ROUNDS} times")


async def _request(old: int, note: SignedNote, prove: Prove) -> bytes:
    proof = list(await prove(old)) if old else []
    if len(proof) > _MAX_PROOF_LINES:
        raise AssertionError("a proof has as many lines as the size has bits")
    lines = [f"old {old}", *(base64.b64encode(item).decode() for item in proof), "", ""]
    return "\n".join(lines).encode() + bytes(note)


def _newer(answer: httpx2.Response, content: bytes, size: int) -> int:
    """The size that the witness knows. Raises `_RefusedError` for every other answer."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    said = content[:40].strip()
    if answer.status_code == httpx2.codes.CONFLICT and kind == _SIZE_TYPE and said.isdigit():
        if int(said) > size:
            raise _RefusedError("witness_fork", f"it knows a log of {int(said)} entries, and this one has {size}")
        return int(said)
    # A 409 without a size, and a proof that does not fit, both mean that it knows another history.
    forked = answer.status_code in (httpx2.codes.CONFLICT, httpx2.codes.UNPROCESSABLE_CONTENT)
    raise _RefusedError("witness_fork" if forked else "witness_refused", f"it answered HTTP {answer.status_code}")


def _lines(text: str, content: bytes) -> tuple[Signature, ...]:
    if len(content) > MAX_ANSWER_BYTES:
        raise _RefusedError("witness_refused", "its answer is too long")
    try:
        return SignedNote.parse(text.encode() + b"\n" + content).signatures
    except NoteError as error:
        raise _RefusedError("witness_refused", f"its answer is no signature: {error}") from None


def _verified(keys: Sequence[Witness], text: str, lines: Sequence[Signature]) -> dict[str, Signature]:
    """By name in the policy. Raises `_RefusedError` when none of the witness's keys signed, or one signed wrongly."""
    signed: dict[str, Signature] = {}
    for witness in keys:
        for line in lines:
            if (line.name, line.keyid) == (witness.key.name, witness.key.keyid):
                if not witness.key.verifies(text, line.value):
                    raise _RefusedError("witness_refused", "its signature is wrong")
                if line.value[:_TIME_BYTES] == bytes(_TIME_BYTES):
                    # tlog-witness forbids it: such a one does not say that it knows no longer log.
                    raise _RefusedError("witness_refused", "its signature states no time")
                signed[witness.name] = line
    if not signed:
        raise _RefusedError("witness_refused", "it did not sign with a key of the policy")
    return signed
