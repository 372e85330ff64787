"""One event into the timeline, which is what a quiet log takes most of the time: by one call of a function of scalars,
and without the objects that a batch needs."""

import hashlib

from services.audit.domain.leaf import Kind, LeafBuilder, Link
from services.audit.memory import Memory
from services.audit.store import Connection, State, load_heads
from services.audit.tlog.tiles import TILE_WIDTH
from services.audit.usual import TELLS_MORE, UnusualError
from shared.events import Event, Reading

_CALL = f"SELECT append_event({', '.join(f'${at}' for at in range(1, 23))})"


def fills_a_tile(state: State) -> bool:
    """Whether the next entry does: then there is more to write than an entry."""
    return state.size % TILE_WIDTH == TILE_WIDTH - 1


async def add_one_event(
    connection: Connection, memory: Memory, builder: LeafBuilder, writer: str, reading: Reading, *, wake: bool
) -> None:
    """Add it behind the state that is remembered, which must not fill a tile, and move position and sequence; what is
    remembered is moved on. `wake`: somebody in another process waits for entries.

    Raises `UnusualError`, and what `in_turn.is_refusal` knows when it is not the next one, when it is recorded, when
    its cause is not, and when the log is in another state.
    """
    before = memory.state
    if before is None or not isinstance(reading, Event) or reading.envelope.type in TELLS_MORE:
        raise UnusualError
    received, envelope = reading.received, reading.envelope
    stream = (received.topic, received.partition)
    stream_id = memory.streams.get(stream)
    link = memory.heads.get(envelope.subject)
    if link is None and envelope.sequence > 1:
        link = (await load_heads(connection, [envelope.subject])).get(envelope.subject)
    link = link or Link(envelope.subject)
    leaf = builder.event(received, link)
    if leaf is None or stream_id is None or received.offset != memory.next_offsets.get(stream, 0):
        raise UnusualError
    leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
    edge, _ = memory.edge.append((leaf_hash,))
    after = State(edge.size, edge.root(), before.epoch + (before.writer != writer), writer)
    await connection.fetchval(
        _CALL,
        *(before.size, before.epoch, before.root, after.epoch, after.root, after.writer),
        *(*stream, received.offset, stream_id),
        *(envelope.subject, envelope.source, envelope.sequence, envelope.id, envelope.causationid),
        *(envelope.type, envelope.organisation, Kind.EVENT.value, link.n, leaf_hash, leaf, wake),
    )
    memory.next_offsets[stream] = received.offset + 1
    memory.keep(after, edge, (link.after(leaf_hash),))
