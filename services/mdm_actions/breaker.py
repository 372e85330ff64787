"""The breaker of each organisation: open or closed, who asked to reset it, and the wipes that it counts."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from services.mdm_actions.domain.breaker import PastWipe, Reset
from services.mdm_actions.store import Case
from shared.events.mdm_actions import BreakerReset
from shared.messaging import Scope, Unit

RESET_WITHIN = timedelta(hours=1)
"""The second person has this long after the first."""


_PAST_WIPES = """
SELECT used_at, people FROM nonce
WHERE organisation = $1 AND drill = $2 AND used_at > $3 AND used_at > coalesce(
    (SELECT last_reset_at FROM breaker b WHERE b.organisation = $1 AND b.drill = $2), '-infinity')
"""


@dataclass(frozen=True)
class Breaker:
    """How the breaker stands; `reason` says which limit opened it."""

    opened_at: datetime | None = None
    reason: str | None = None
    asked_by: tuple[str, ...] = ()
    asked_at: datetime | None = None

    @property
    def open(self) -> bool:
        return self.opened_at is not None


async def load(unit: Unit, organisation: str, drill: bool) -> Breaker:
    """The organisation's breaker. Drills have one of their own, so that practice never stops a real wipe."""
    row = await unit.connection.fetchrow(
        "SELECT opened_at, reason, asked_by, asked_at FROM breaker WHERE organisation = $1 AND drill = $2",
        organisation,
        drill,
    )
    return Breaker(row["opened_at"], row["reason"], tuple(row["asked_by"]), row["asked_at"]) if row else Breaker()


async def count_open(pool: asyncpg.Pool) -> int:
    """For how many organisations real wipes are held."""
    count: int = await pool.fetchval("SELECT count(*) FROM breaker WHERE opened_at IS NOT NULL AND NOT drill")
    return count


async def trip(unit: Unit, organisation: str, drill: bool, reason: str) -> None:
    """Open it."""
    await unit.connection.execute(
        "INSERT INTO breaker (organisation, drill, opened_at, reason) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (organisation, drill) DO UPDATE SET opened_at = $3, reason = $4, asked_by = '[]', asked_at = NULL",
        organisation,
        drill,
        unit.now,
        reason,
    )


async def reset(unit: Unit, organisation: str, drill: bool, *, person: str, actor: str, reason: str) -> Breaker:
    """One person asks for the reset; when two did within `RESET_WITHIN`, it is closed and `BreakerReset` says so."""
    await unit.lock(f"org-{organisation}")
    breaker = await load(unit, organisation, drill)
    if not breaker.open:
        return breaker
    asked_at = breaker.asked_at
    fresh = asked_at is not None and unit.now - asked_at < RESET_WITHIN
    asked = Reset(breaker.asked_by if fresh else ()).with_person(person)
    if not asked.complete:
        asked_at = asked_at if fresh else unit.now
        await unit.connection.execute(
            "UPDATE breaker SET asked_by = $3, asked_at = $4 WHERE organisation = $1 AND drill = $2",
            organisation,
            drill,
            list(asked.people),
            asked_at,
        )
        return Breaker(breaker.opened_at, breaker.reason, asked.people, asked_at)
    await unit.connection.execute(
        "UPDATE breaker SET opened_at = NULL, reason = NULL, asked_by = '[]', asked_at = NULL, last_reset_at = $3 "
        "WHERE organisation = $1 AND drill = $2",
        organisation,
        drill,
        unit.now,
    )
    scope = Scope(f"org-{organisation}", organisation, drill)
    await unit.emit(BreakerReset(reset_by=list(asked.people), reason=reason), scope, actor=actor)
    return Breaker()


async def nonce_used(unit: Unit, nonce: str) -> bool:
    """Whether an order with this nonce was let through before."""
    return bool(await unit.connection.fetchval("SELECT true FROM nonce WHERE nonce = $1", nonce))


async def use_nonce(unit: Unit, case: Case, nonce: str, people: Collection[str]) -> None:
    """Let an order through, once. The breaker counts these."""
    await unit.connection.execute(
        "INSERT INTO nonce (nonce, organisation, incident, drill, people, used_at) VALUES ($1, $2, $3, $4, $5, $6)",
        nonce,
        case.organisation,
        case.incident,
        case.drill,
        list(people),
        unit.now,
    )


async def past_wipes(unit: Unit, case: Case, since: datetime) -> list[PastWipe]:
    """The organisation's wipes since a moment, or since its breaker was last reset. Drills count apart."""
    rows = await unit.connection.fetch(
        _PAST_WIPES,
        case.organisation,
        case.drill,
        since,
    )
    return [PastWipe(row["used_at"], row["people"]) for row in rows]
