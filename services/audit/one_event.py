"""One event into the timeline by one call of a function: what `store.add_at_once` does for any number."""

from services.audit.store import Connection, Step

_CALL = f"SELECT append_event({', '.join(f'${at}' for at in range(1, 23))})"


def is_one_event(step: Step) -> bool:
    """Whether the step is one entry of one event, by which no tile becomes full."""
    return len(step.entries) == 1 and not step.tiles


async def add_one_event(connection: Connection, step: Step, *, wake: bool) -> None:
    """Add it, and move position and sequence; `wake`: somebody in another process waits for entries.

    Raises what `in_turn.is_refusal` knows when it is not the next one, when it is recorded, when its cause is not, and
    when the log is in another state.
    """
    (entry,) = step.entries
    envelope, link, stream = entry.envelope, entry.link, entry.stream
    if envelope is None or link is None or stream is None:
        raise ValueError("an entry that is no event of a chain cannot be added as one")
    before, after = step.before, step.after
    await connection.fetchval(
        _CALL,
        *(before.size, before.epoch, before.root, after.epoch, after.root, after.writer),
        *(*stream, entry.offset, step.streams[stream]),
        *(envelope.subject, envelope.source, envelope.sequence, envelope.id, envelope.causationid),
        *(envelope.type, envelope.organisation),
        *(entry.leaf.kind.value, link.n, entry.leaf.hash, entry.leaf.data),
        wake,
    )
