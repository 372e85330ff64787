"""`make outsiders`: programs of other makes read the log, check it, and cosign it. docs/outsiders.md says which.

Needs Go 1.27 or newer with its module proxy, and ssh-agent. One line a finding; exits 0 when all is as it should be.
"""

import asyncio
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import structlog

from lostphone.installation import Installation
from lostphone.topics import apply, manifest
from lostphone.verify import HttpSource, run
from lostphone.verify.source import SavingSource
from services.audit.tlog import Checkpoint, Policy, SignedNote
from tests.audit.conftest import LOG_KEYS, ORIGIN
from tests.audit.running import OPERATOR, Audit, audit_at, eventually
from tests.outsiders.tools import FSCK, SPICY, lite_witness, omni_witness, said_by
from tests.stack.installed import Installed, copy_of, make_template
from tests.stack.run import Run

_VKEY = str(LOG_KEYS[0].verifier)
_ROUNDS = (1, 255, 300, 500)
"""Entries added before each checkpoint: below, at and across the ends of tiles."""


async def main() -> int:
    """How many of the checks failed."""
    # Each request that the service answers would be a line among the findings.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    started = Run.begin()
    try:
        with tempfile.TemporaryDirectory(prefix="lostphone-outsiders-") as place:
            return await _go(started, Path(place))
    finally:
        started.end()


async def _go(started: Run, folder: Path) -> int:
    bootstrap, postgres = await asyncio.to_thread(started.kafka), await asyncio.to_thread(started.postgres)
    await asyncio.to_thread(apply, {"bootstrap.servers": bootstrap}, manifest())
    template = await make_template(postgres)
    async with (
        copy_of(template, postgres) as dsn,
        lite_witness(folder, ORIGIN, _VKEY) as lite,
        omni_witness(folder, ORIGIN, _VKEY) as omni,
    ):
        lines = [f"log {key.verifier}" for key in LOG_KEYS] + [*lite, *omni]
        policy = "\n".join([*lines, "group omni all omni-ed25519 omni-mldsa44", "group both all lite omni", ""])
        policy += "quorum both\n"
        (folder / "policy.txt").write_text(policy)
        installed = Installed(bootstrap, dsn, Installation.open(folder / "installation"))
        async with audit_at(installed, folder, log_policy_file=folder / "policy.txt") as audit:
            return await _put_to_it(audit, Policy.parse(policy), folder)


async def _put_to_it(audit: Audit, policy: Policy, folder: Path) -> int:
    results: dict[str, bool] = {}
    async with _publishing(audit):
        for count in _ROUNDS:
            await audit.bench.record(
                *(audit.bench.writers.record("IncidentTriaged", secrets.token_hex(8)) for _ in range(count))
            )
            size = len(await audit.bench.entries())
            note = await eventually(lambda size=size: _checkpoint(audit, size))
            signed = {
                name
                for name, witness in policy.witnesses.items()
                for line in note.signatures
                if line.keyid == witness.key.keyid and witness.key.verifies(note.text, line.value)
            }
            results[f"witnesses of two other makes cosigned the checkpoint of {size} entries"] = signed == {
                "lite",
                "omni-ed25519",
                "omni-mldsa44",
            }
    token = await audit.token(OPERATOR, "auditor")
    (folder / "vkey").write_text(_VKEY)
    results["fsck reads and proves the log over HTTP"] = await _fsck(folder, audit.url + "/", token)
    copy = folder / "copy"
    with HttpSource(audit.url, token) as source:
        await asyncio.to_thread(run, SavingSource(source, copy), [LOG_KEYS[0].verifier])
    results["fsck proves a copy in files"] = await _fsck(folder, copy.as_uri())
    # In the last bundle: this version of fsck waits for ever once an earlier one is wrong.
    (bundle,) = (copy / "tile/entries").glob("*.p/*")
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"?")
    results["fsck refuses the copy with one byte changed"] = not await _fsck(folder, copy.as_uri())
    results["spicy proves an entry by its tlog-proof"] = await _spicy(audit, token, folder, 700, 700)
    results["spicy refuses the proof of another entry"] = not await _spicy(audit, token, folder, 700, 701)
    for what, well in results.items():
        sys.stdout.write(f"{'ok ' if well else 'NOT'} {what}\n")
    return sum(not well for well in results.values())


@asynccontextmanager
async def _publishing(audit: Audit) -> AsyncIterator[None]:
    task = asyncio.ensure_future(audit.parts.background[0]())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _checkpoint(audit: Audit, size: int) -> SignedNote | None:
    answer = await audit.get("/checkpoint")
    if answer.status_code != httpx2.codes.OK:
        return None
    note = SignedNote.parse(answer.content)
    return note if Checkpoint.parse(note.text).size == size else None


async def _fsck(folder: Path, url: str, token: str = "") -> bool:
    """Its exit status says nothing, so its words count."""
    said = await said_by(
        FSCK, f"--storage_url={url}", f"--bearer_token={token}", f"--public_key={folder / 'vkey'}", "--ui=false",
        "--logtostderr",
    )  # fmt: skip
    return "Successfully fsck'd" in said and "fsck failed" not in said


async def _spicy(audit: Audit, token: str, folder: Path, entry: int, proof: int) -> bool:
    """It knows the format from before it had a first line."""
    leaf = await audit.bench.reader.entry(entry)
    told = await audit.get(f"/v1/entries/{proof}/proof", token)
    assert leaf is not None
    (folder / "entry").write_bytes(leaf["leaf"])
    (folder / "entry.spicy").write_bytes(told.content.partition(b"\n")[2])
    return "verified" in await said_by(SPICY, "-verify", _VKEY, str(folder / "entry"))


if __name__ == "__main__":
    os.environ.setdefault("GOTOOLCHAIN", "auto")
    sys.exit(1 if asyncio.run(main()) else 0)
