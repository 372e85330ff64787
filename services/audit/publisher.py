"""Signs what is committed: at most one checkpoint a second, stored before anybody is served it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import structlog

from services.audit import store
from services.audit.added import Added
from services.audit.domain.finding import INSTALLATION, LOG_SUBJECT
from services.audit.feeds.ocsf_own import tell
from services.audit.feeds.ocsf_versions import OcsfVersion
from services.audit.guard import ForkedError, Guard
from services.audit.listening import Listening, listen
from services.audit.reader import DamagedError, LogReader
from services.audit.store import Connection
from services.audit.timeline import ACTOR
from services.audit.tlog import Checkpoint, LogKey, Proofs, SignedNote
from services.audit.witnesses import Refusal, Witnesses
from shared.events.audit import IntegrityFinding
from shared.messaging.outage import is_outage
from shared.messaging.unit import Scope, Units
from shared.telemetry import Health, metrics

INTERVAL_SECONDS = 1.0
"""A checkpoint a batch would multiply the partial tiles that must stay available."""
_PAUSE_SECONDS = 1.0
_REFUSED_PAUSE_SECONDS = 5.0
"""After a refusal: it may have been a fault of the witness, and then publication goes on by itself."""

_STATE = "SELECT size, root FROM log_state"
_NEWEST = "SELECT size, root FROM checkpoint ORDER BY size DESC LIMIT 1"
_KEEP = "INSERT INTO checkpoint (size, root, note, signed_at) VALUES ($1, $2, $3, $4) ON CONFLICT (size) DO NOTHING"

_log = structlog.get_logger()


class ForkError(Exception):
    """The log is not what it signed before, as after a restore of an older backup. Nothing is signed any more."""


class UnwitnessedError(Exception):
    """The witnesses that the policy asks for did not sign. `refusals` is empty when they were only away."""

    def __init__(self, refusals: Sequence[Refusal], away: Sequence[str]) -> None:
        said = [f"{refusal.witness} refuses: {refusal.reason}" for refusal in refusals]
        said += [f"{name} does not answer" for name in away]
        super().__init__(f"no checkpoint is published; {'; '.join(said) or 'too few witnesses signed'}")
        self.refusals = tuple(refusals)


class Publisher:
    """The one place that uses the log's keys."""

    def __init__(
        self,
        dsn: str,
        origin: str,
        keys: Sequence[LogKey],
        health: Health,
        *,
        witnesses: Witnesses | None = None,
        guard: Guard | None = None,
        units: Units | None = None,
        added: Added | None = None,
        ocsf: OcsfVersion = OcsfVersion.V1_8,
    ) -> None:
        """`guard` keeps what is published outside the database; with `units` a refusal becomes a finding."""
        self._dsn = dsn
        self._origin = origin
        self._keys = keys
        self._health = health
        self._added = added
        self._witnesses = witnesses
        self._guard = guard
        self._units = units
        self._ocsf = ocsf
        self._told: set[tuple[str, str]] = set()
        self._forked = False

    async def run(self) -> None:
        """Until cancelled. Outages are waited out; a fork stops the signing and is shown as unhealthy."""
        while True:
            try:
                async with listen(self._dsn, "publisher", self._added) as listening:
                    await self._serve(listening)
            except Exception as error:
                if not is_outage(error):
                    raise
                if not self._forked:
                    self._health.fail("publisher", f"the database cannot be reached: {type(error).__name__}")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _serve(self, listening: Listening) -> None:
        if not self._forked:
            self._health.ok("publisher")
        await listening.take_turn()
        while True:
            # Here, beside the writer, which would let an event wait for it; also while nothing is published any more.
            await store.follow(listening.connection)
            await (listening.wait() if self._forked else self._publish_next(listening))

    async def _publish_next(self, listening: Listening) -> None:
        """Publish, and wait until there may be more."""
        try:
            published = await self.publish(listening.connection)
        except (ForkError, ForkedError, DamagedError) as error:
            self._forked = True
            self._health.fail("publisher", str(error))
            _log.critical("log_forked", reason=str(error))
        except UnwitnessedError as error:
            await self._wait_for_witnesses(error)
        else:
            self._told.clear()
            self._health.ok("publisher")
            if published:
                await asyncio.sleep(INTERVAL_SECONDS)
            await listening.wait()

    async def publish(self, connection: Connection) -> bool:
        """Sign the committed tree unless it is signed already, have it witnessed, store it. Raises `ForkError`,
        `ForkedError` and `DamagedError` for what must not be signed, and `UnwitnessedError` when the policy is not
        fulfilled or a witness refuses: then nothing was stored."""
        state = await connection.fetchrow(_STATE)
        if state is None:
            raise AssertionError("the migration made the row")
        size, root = state["size"], state["root"]
        newest = await connection.fetchrow(_NEWEST)
        if newest is not None:
            if newest["size"] > size or (newest["size"] == size and newest["root"] != root):
                raise ForkError(f"size {newest['size']} was signed, and the log at size {size} does not continue it")
            if newest["size"] == size:
                metrics.LOG_VERIFIED.set_to_current_time()
                return False
        checkpoint = Checkpoint(self._origin, size, root)
        await self._require_continued(connection, checkpoint, newest)
        now = datetime.now(UTC)
        signatures = tuple(key.sign(checkpoint, int(now.timestamp())) for key in self._keys)
        note = SignedNote(checkpoint.text(), signatures)
        if self._witnesses is not None and size:
            note = await self._witnessed(self._witnesses, connection, checkpoint, note, newest["size"] if newest else 0)
        if self._guard is not None:
            # Outside first: what is published must be known there even if the database is lost in this moment.
            self._guard.keep(bytes(note))
        await connection.execute(_KEEP, size, root, bytes(note), now)
        metrics.LOG_VERIFIED.set_to_current_time()
        return True

    async def _require_continued(
        self, connection: Connection, checkpoint: Checkpoint, newest: asyncpg.Record | None
    ) -> None:
        """Whoever can write to the tables would else have any root signed: it is proved first, as to a witness."""
        reader, size = LogReader(connection), checkpoint.size
        if await reader.root(size) != checkpoint.root:
            raise ForkError(f"the entries of the log of {size} do not give the root that its state names")
        if newest is not None:
            published = Checkpoint(self._origin, newest["size"], newest["root"])
            if not await reader.continues(size, published):
                raise ForkError(f"size {published.size} was signed, and the log at size {size} does not continue it")
        if self._guard is not None:
            await self._guard.check(connection, size)

    async def _witnessed(
        self, witnesses: Witnesses, connection: Connection, checkpoint: Checkpoint, note: SignedNote, published: int
    ) -> SignedNote:
        async def prove(old: int) -> list[bytes]:
            # Several witnesses are asked at once over one connection.
            async with reading:
                return await reader.hashes(checkpoint.size, Proofs(checkpoint.size).consistency(old))

        reading, reader = asyncio.Lock(), LogReader(connection)
        answers = await witnesses.cosign(checkpoint, note, prove, published)
        if answers.refusals or not witnesses.policy.is_fulfilled(answers.signed):
            raise UnwitnessedError(answers.refusals, answers.away)
        return SignedNote(note.text, (*note.signatures, *answers.signatures))

    async def _wait_for_witnesses(self, error: UnwitnessedError) -> None:
        self._health.fail("publisher", str(error))
        _log.error("checkpoint_not_witnessed", reason=str(error))
        for refusal in error.refusals:
            key = (refusal.witness, refusal.code)
            if self._units is not None and key not in self._told:
                async with self._units.begin() as unit:
                    finding = IntegrityFinding(finding=refusal.code)
                    await tell(unit, finding, Scope(LOG_SUBJECT, INSTALLATION), actor=ACTOR, ocsf=self._ocsf)
                self._told.add(key)
        await asyncio.sleep(_REFUSED_PAUSE_SECONDS if error.refusals else _PAUSE_SECONDS)
