"""A batch of the log, taken: verify → hand to the sink what does not lie below the positions in the database, in one
transaction with the new positions → commit.

A batch that fails is taken again one by one; what still fails is parked in the dead-letter topic, within a limit.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from shared.events import KeyRing, Reading, Received
from shared.messaging.batch import Place, count, place_of
from shared.messaging.dead_letter import DeadLetters, ParkingLimit
from shared.messaging.in_turn import TakesAtOnce
from shared.messaging.outage import is_outage
from shared.messaging.position import claim
from shared.messaging.readings import read_together
from shared.messaging.redrive import first_place, redrive, remember
from shared.messaging.unit import Unit, Units
from shared.telemetry import metrics

_TRIES_ALONE = 3
_TRY_PAUSE_SECONDS = 0.2

_log = structlog.get_logger()


class Sink(Protocol):
    """What a service does with the log. One that has `urgent`, the event types that somebody waits for, lets all
    others gather for a moment."""

    async def take(self, unit: Unit, readings: Sequence[Reading]) -> None:
        """Take one batch, in order, within the unit. Called again for each record alone when it raises."""


class Taking:
    """Takes the batches of one service."""

    def __init__(
        self,
        units: Units,
        keyring: KeyRing,
        sink: Sink,
        *,
        dead_letters: DeadLetters,
        topic: str,
        limit: ParkingLimit | None = None,
    ) -> None:
        """`topic`: the log's; records of others are those that somebody redrives."""
        self._units = units
        self._keyring = keyring
        self._sink = sink
        self._dead_letters = dead_letters
        self._topic = topic
        self._limit = limit or ParkingLimit()

    async def take(self, batch: Sequence[Received]) -> bool:
        """Take a batch; whether nothing of it had been taken before. Raises `TooManyDeadLettersError`, and an error of
        which `is_outage` says that the whole batch is to be taken again: what of it was taken is dropped then."""
        try:
            return await self._take(batch)
        except Exception as error:
            if is_outage(error):
                raise
            metrics.RETRIED.labels(batch[0].topic).inc(len(batch))
            _log.warning("batch_failed", records=len(batch), error=type(error).__name__)
        return all([await self._take_alone(record) for record in batch])

    async def _take_alone(self, record: Received) -> bool:
        for attempt in range(1, _TRIES_ALONE + 1):
            try:
                return await self._take([record])
            except Exception as error:
                if is_outage(error):
                    raise
                if attempt == _TRIES_ALONE:
                    await self._park(record, error)
                else:
                    await asyncio.sleep(_TRY_PAUSE_SECONDS)
        return True

    async def _take(self, batch: Sequence[Received]) -> bool:
        with metrics.BATCH.time():
            readings = await self._read(batch)
            at_once = await self._took_at_once(batch, list(readings.values()))
            new = batch if at_once else await self._took_in_unit(batch, readings)
        count(batch, new, readings.values())
        self._limit.handled(len(new))
        return len(new) == len(batch)

    async def _read(self, batch: Sequence[Received]) -> dict[Place, Reading]:
        """What those of the log say."""
        records = [record for record in batch if record.topic == self._topic]
        return dict(zip(map(place_of, records), await read_together(records, self._keyring), strict=True))

    async def _took_at_once(self, batch: Sequence[Received], readings: Sequence[Reading]) -> bool:
        sink = self._sink
        is_log_alone = len(readings) == len(batch)
        if not is_log_alone or not isinstance(sink, TakesAtOnce):
            return False
        try:
            return await sink.take_at_once(self._units, readings)
        except BaseException:
            await self._units.line.give_back()
            raise

    async def _took_in_unit(self, batch: Sequence[Received], readings: Mapping[Place, Reading]) -> Sequence[Received]:
        async with self._units.begin() as unit:
            new = await claim(unit, batch)
            if in_turn := [readings[place_of(record)] for record in new if record.topic == self._topic]:
                await self._sink.take(unit, in_turn)
            for record in new:
                if record.topic != self._topic:
                    await redrive(unit, record, self._keyring, self._sink)
        return new

    async def _park(self, record: Received, error: Exception) -> None:
        original, is_in_log = record, record.topic == self._topic
        if is_in_log:
            self._limit.must_allow_one()
        else:
            # Somebody asked for this one; that it fails again says nothing about those in the log.
            metrics.REDRIVEN.labels("failed").inc()
            original = first_place(record)
        await self._dead_letters.park(original, error)
        async with self._units.begin() as unit:
            await claim(unit, [record])
            await remember(unit, original, self._keyring, error)
        if is_in_log:
            self._limit.parked()
