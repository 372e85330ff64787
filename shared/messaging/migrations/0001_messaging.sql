-- What every service needs to hear and to speak exactly once; in the service's own schema.

-- The last sequence that this service gave to an event of a subject. Its row lock is the lock on the subject.
CREATE TABLE subject_sequence (
    subject text PRIMARY KEY,
    last    bigint NOT NULL DEFAULT 0
);

-- Events that are committed but not yet acknowledged by Kafka: exactly the bytes to send.
CREATE TABLE outbox (
    place      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   text NOT NULL,
    topic      text NOT NULL,
    key        text NOT NULL,
    headers    jsonb NOT NULL,
    value      bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01);

-- How far the log has been taken: the truth about offsets. Kafka's own are for display.
CREATE TABLE position (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- The last sequence heard per source and subject: finds repeats and gaps.
CREATE TABLE heard (
    source   text NOT NULL,
    subject  text NOT NULL,
    sequence bigint NOT NULL,
    event_id text NOT NULL,
    PRIMARY KEY (source, subject)
);

CREATE TABLE timer (
    subject  text NOT NULL,
    name     text NOT NULL,
    due_at   timestamptz NOT NULL,
    attempt  integer NOT NULL DEFAULT 0,
    payload  jsonb NOT NULL DEFAULT '{}',
    -- Moves with every arming, so that whoever finishes an old firing does not end a newer timer of the same name.
    armed    bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (subject, name)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX timer_due ON timer (due_at);
