-- What was parked among the dead letters: the only records that may be redriven, and each acts once. Written in the
-- transaction that passes over the record.
CREATE TABLE parked (
    -- Where the record lay first.
    topic        text NOT NULL,
    partition    integer NOT NULL,
    kafka_offset bigint NOT NULL,
    -- Of a verified event; nothing else can be redriven.
    source       text,
    event_id     text,
    reason       text NOT NULL,
    parked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When its event acted after all, and how: redriven, or as another copy of the same event.
    settled_at   timestamptz,
    settled_by   text CHECK (settled_by IN ('redrive', 'copy')),
    PRIMARY KEY (topic, partition, kafka_offset)
);
CREATE INDEX parked_open ON parked (event_id) WHERE settled_at IS NULL;
