-- The id of an event stands once in the log, and every repeat of it is numbered. A unique key says so in place of a look
-- for each event that is added.
ALTER TABLE entry ADD COLUMN repeat integer NOT NULL DEFAULT 0;
-- The number that its source gave an event about its subject.
ALTER TABLE entry ADD COLUMN sequence bigint;
DO $$
BEGIN
    IF EXISTS (SELECT FROM entry WHERE event_id IS NOT NULL GROUP BY event_id HAVING count(*) > 1) THEN
        ALTER TABLE entry DISABLE TRIGGER refuse_change;
        UPDATE entry SET repeat = numbered.repeat
        FROM (SELECT seq, row_number() OVER (PARTITION BY event_id ORDER BY seq) - 1 AS repeat
            FROM entry WHERE event_id IS NOT NULL) AS numbered
        WHERE entry.seq = numbered.seq AND numbered.repeat > 0;
        ALTER TABLE entry ENABLE ALWAYS TRIGGER refuse_change;
    END IF;
END
$$;
DROP INDEX entry_event;
ALTER TABLE entry ADD UNIQUE (event_id, repeat);

-- PostgreSQL reads a CHECK anew for every statement: for one event these took as long as its look for the cause. The
-- writer makes hashes and leaves of no other length, and whoever verifies the log would see one.
ALTER TABLE entry DROP CONSTRAINT entry_leaf_hash_check, DROP CONSTRAINT entry_leaf_check;
ALTER TABLE log_state DROP CONSTRAINT log_state_root_check, DROP CONSTRAINT log_state_single_check;

-- What is known of an event that is added at once lies in its entry. Positions and sequences that were heard follow the
-- entries, up to this size, in one go for many: two rows less to change for every event.
CREATE TABLE followed (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    size   bigint NOT NULL
);
INSERT INTO followed (size) SELECT size FROM log_state;

-- Let them follow by so many entries at most; whether there are more. Writers are not kept waiting: a position that is
-- locked is being moved further on by whoever locked it, and should that be undone, records are read again that the log
-- knows to have.
CREATE FUNCTION follow(most bigint) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    first_seq bigint;
    until_seq bigint;
    end_seq bigint;
BEGIN
    SELECT size INTO first_seq FROM followed FOR UPDATE;
    SELECT size INTO end_seq FROM log_state;
    until_seq := least(end_seq, first_seq + most);
    IF first_seq >= end_seq THEN
        RETURN false;
    END IF;
    INSERT INTO heard (source, subject, sequence, event_id)
    SELECT DISTINCT ON (subject, source) source, subject, sequence, event_id FROM entry
    WHERE seq >= first_seq AND seq < until_seq AND kind = 'event' AND sequence IS NOT NULL
    ORDER BY subject, source, sequence DESC, seq
    ON CONFLICT (source, subject) DO UPDATE SET sequence = excluded.sequence, event_id = excluded.event_id
    WHERE heard.sequence < excluded.sequence;
    WITH recorded AS MATERIALIZED (
        SELECT stream_id, max(kafka_offset) + 1 AS next_offset FROM entry
        WHERE seq >= first_seq AND seq < until_seq AND stream_id IS NOT NULL GROUP BY stream_id
    ), behind AS (
        SELECT position.topic, position.partition, recorded.next_offset
        FROM recorded JOIN stream ON stream.id = recorded.stream_id
        JOIN position ON position.topic = stream.topic AND position.partition = stream.partition
        WHERE position.next_offset < recorded.next_offset FOR UPDATE OF position SKIP LOCKED
    )
    UPDATE position SET next_offset = behind.next_offset FROM behind
    WHERE position.topic = behind.topic AND position.partition = behind.partition;
    UPDATE followed SET size = until_seq;
    RETURN until_seq < end_seq;
END
$$;

DROP FUNCTION append_event;
DROP FUNCTION refuse_unusual;

-- That each of these has one row, nobody who writes entries can change.
DO $$
DECLARE
    kept text;
    grantee text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['log_state', 'followed'] LOOP
        FOR grantee IN
            SELECT DISTINCT held.grantee FROM information_schema.role_table_grants AS held
            WHERE held.table_schema = current_schema() AND held.table_name = kept
                AND held.grantee NOT IN (current_user, 'PUBLIC')
        LOOP
            EXECUTE format('REVOKE INSERT, DELETE, TRUNCATE ON %I FROM %I', kept, grantee);
        END LOOP;
    END LOOP;
END
$$;
