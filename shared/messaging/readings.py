"""Many records of the log, decoded and verified: their signatures beside each other, in threads."""

import asyncio
import os
from collections.abc import Sequence

from shared.events import KeyRing, Reading, Received, Rejection
from shared.events.reading import Claim, claim

_STRETCH = 8
"""So many records are decoded before anything else of the process goes on."""
_THREADS = min(4, os.cpu_count() or 1)
_FEW = 8
"""Signatures that are checked sooner than they are handed to threads."""


async def read_together(records: Sequence[Received], keyring: KeyRing) -> list[Reading]:
    """What these say, in their order. Others of the process have their turn meanwhile."""
    claims: list[Claim | Rejection] = []
    for number, record in enumerate(records):
        if number % _STRETCH == _STRETCH - 1:
            await asyncio.sleep(0)
        claims.append(claim(record, keyring))
    if len(claims) <= _FEW:
        return _settle(claims)
    size = -(-len(claims) // _THREADS)
    parts = [claims[at : at + size] for at in range(0, len(claims), size)]
    settled = await asyncio.gather(*(asyncio.to_thread(_settle, part) for part in parts))
    return [reading for part in settled for reading in part]


def _settle(claims: Sequence[Claim | Rejection]) -> list[Reading]:
    return [claim.settled() if isinstance(claim, Claim) else claim for claim in claims]
