-- Which topic the positions belong to: Kafka gives each one an id, and another to one that was deleted and made again.
CREATE TABLE topic (
    name text PRIMARY KEY,
    id   uuid NOT NULL
);

-- Offsets of the log that were deleted before this service came to them: it goes on without what lay there.
CREATE TABLE deleted_unread (
    topic           text NOT NULL,
    partition       integer NOT NULL,
    first_offset    bigint NOT NULL,
    -- Behind the last one.
    next_offset     bigint NOT NULL,
    noticed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When somebody had seen to it, and who.
    acknowledged_at timestamptz,
    acknowledged_by text,
    PRIMARY KEY (topic, partition, first_offset)
);
