-- Indexes of the chains, timestamps, and guards for what is handed out as evidence.

-- When an index was made of the log, for the timer; the index itself is an entry, and is made again from the log.
CREATE TABLE index_made (
    seq     bigint PRIMARY KEY,
    size    bigint NOT NULL,
    made_at timestamptz NOT NULL
);

-- What a timestamping authority answered for a checkpoint; its digest is in an `anchor` entry.
CREATE TABLE timestamp_response (
    size       bigint PRIMARY KEY REFERENCES checkpoint (size),
    response   bytea NOT NULL,
    seq        bigint NOT NULL,
    fetched_at timestamptz NOT NULL
);

-- Entries that the log writes about itself are found by their kind.
CREATE INDEX entry_own ON entry (kind, seq) WHERE kind IN ('index', 'export', 'erasure', 'hold', 'key', 'anchor', 'restore', 'gap');

DO $$
DECLARE
    grantee text;
BEGIN
    EXECUTE 'CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON timestamp_response '
            'FOR EACH ROW EXECUTE FUNCTION refuse_change()';
    EXECUTE 'CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON timestamp_response '
            'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()';
    EXECUTE 'ALTER TABLE timestamp_response ENABLE ALWAYS TRIGGER refuse_change';
    EXECUTE 'ALTER TABLE timestamp_response ENABLE ALWAYS TRIGGER refuse_truncate';
    FOR grantee IN
        SELECT DISTINCT held.grantee FROM information_schema.role_table_grants AS held
        WHERE held.table_schema = current_schema() AND held.table_name = 'timestamp_response'
          AND held.grantee NOT IN (current_user, 'PUBLIC')
    LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON timestamp_response FROM %I', grantee);
    END LOOP;
END
$$;
