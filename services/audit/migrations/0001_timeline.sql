-- The immutable timeline: entries and tiles are only ever added.

-- The topic partitions that records come from, and how far they are recorded. It runs along with the kit's position,
-- except where a record could not be taken: then the next record of the partition shows the hole.
CREATE TABLE stream (
    id          smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    UNIQUE (topic, partition)
);

-- One row: the tree as it is committed. Its lock puts writers in a line; `epoch` moves when another one takes over.
CREATE TABLE log_state (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    size   bigint NOT NULL,
    root   bytea NOT NULL CHECK (octet_length(root) = 32),
    epoch  bigint NOT NULL,
    writer text NOT NULL
);
-- The root of the empty tree is the hash of nothing.
INSERT INTO log_state (size, root, epoch, writer) VALUES (0, sha256(''), 0, '');

CREATE TABLE entry (
    seq          bigint PRIMARY KEY,
    kind         text NOT NULL,
    leaf_hash    bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
    leaf         bytea NOT NULL CHECK (octet_length(leaf) <= 65535),
    detached     bytea,
    stream_id    smallint REFERENCES stream (id),
    kafka_offset bigint,
    -- The chain that it stands in, if it stands in one.
    subject      text,
    n            bigint,
    -- Of verified events.
    organisation text,
    source       text,
    event_id     text,
    event_type   text,
    body_hash    bytea,
    UNIQUE (stream_id, kafka_offset),
    UNIQUE (subject, n)
);
-- Leaves are read whole and are mostly hashes and digests: compressing them costs more than it saves.
ALTER TABLE entry ALTER COLUMN leaf SET STORAGE EXTERNAL;
CREATE INDEX entry_event ON entry (event_id) WHERE event_id IS NOT NULL;

-- What was too long for a leaf, by its SHA-256.
CREATE TABLE detached (
    sha256 bytea PRIMARY KEY,
    data   bytea NOT NULL
);

-- Full tiles only; partial ones are made from what they would hold. `root` is the hash for the level above.
CREATE TABLE tile (
    level  smallint NOT NULL,
    idx    bigint NOT NULL,
    hashes bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    root   bytea NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (level, idx)
);

-- Where the chain of each subject stands: the next place, and the leaf hash that it will name.
CREATE TABLE head (
    subject      text PRIMARY KEY,
    organisation text NOT NULL,
    drill        boolean NOT NULL,
    n            bigint NOT NULL,
    hash         bytea NOT NULL,
    last_seq     bigint NOT NULL,
    -- The newest seal, if one was set.
    seal_seq     bigint
);

CREATE TABLE checkpoint (
    size      bigint PRIMARY KEY,
    root      bytea NOT NULL,
    note      bytea NOT NULL,
    signed_at timestamptz NOT NULL
);

-- How far each feed has gone.
CREATE TABLE feed (
    name     text PRIMARY KEY,
    next_seq bigint NOT NULL
);
INSERT INTO feed (name, next_seq) VALUES ('outward', 0);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the timeline is only ever added to: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

DO $$
DECLARE
    kept text;
    grantee text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['entry', 'tile', 'detached', 'checkpoint'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON %I '
                       'FOR EACH ROW EXECUTE FUNCTION refuse_change()', kept);
        EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', kept);
        -- Always: also under session_replication_role = replica.
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER refuse_change', kept);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER refuse_truncate', kept);
        FOR grantee IN
            SELECT DISTINCT held.grantee FROM information_schema.role_table_grants AS held
            WHERE held.table_schema = current_schema() AND held.table_name = kept
              AND held.grantee NOT IN (current_user, 'PUBLIC')
        LOOP
            EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM %I', kept, grantee);
        END LOOP;
    END LOOP;
END
$$;
