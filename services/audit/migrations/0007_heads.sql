-- The head of a chain is its last entry, by the unique key of chains: kept once more it was one more row to change for
-- every entry, and one more thing that could say something else than the entries do.
DROP TABLE head;

-- As before, without the head, and in one statement: each more is a plan that is begun and ended. Who waits for entries
-- in this process is told by the process; `of_others`, that some wait in another one.
DROP FUNCTION append_event;
CREATE FUNCTION append_event(
    old_size bigint, old_epoch bigint, old_root bytea, new_epoch bigint, new_root bytea, new_writer text,
    of_topic text, of_partition integer, of_offset bigint, of_stream smallint,
    of_subject text, of_source text, of_sequence bigint, of_event text, of_cause text,
    of_type text, of_organisation text, of_kind text, of_n bigint, of_hash bytea, of_leaf bytea, of_others boolean)
RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    usual boolean;
    following boolean;
BEGIN
    WITH moved AS (
        UPDATE log_state SET size = old_size + 1, root = new_root, epoch = new_epoch, writer = new_writer
        WHERE size = old_size AND epoch = old_epoch AND root = old_root RETURNING size
    ), placed AS (
        UPDATE position SET next_offset = of_offset + 1
        WHERE topic = of_topic AND partition = of_partition AND next_offset <= of_offset RETURNING next_offset
    ), heard_on AS (
        UPDATE heard SET sequence = of_sequence, event_id = of_event
        WHERE source = of_source AND subject = of_subject AND sequence = of_sequence - 1 RETURNING sequence
    ), added AS (
        INSERT INTO entry (seq, kind, leaf_hash, leaf, stream_id, kafka_offset, subject, n, organisation, source,
            event_id, event_type)
        VALUES (old_size, of_kind, of_hash, of_leaf, of_stream, of_offset, of_subject, of_n, of_organisation, of_source,
            of_event, of_type)
    )
    SELECT EXISTS (SELECT FROM moved) AND EXISTS (SELECT FROM placed)
        AND NOT EXISTS (SELECT FROM entry WHERE event_id = of_event AND subject IS NOT NULL)
        AND (of_cause IS NULL OR EXISTS (SELECT FROM entry WHERE event_id = of_cause AND subject IS NOT NULL))
        AND NOT EXISTS (SELECT FROM parked WHERE settled_at IS NULL),
        EXISTS (SELECT FROM heard_on)
    INTO usual, following;
    IF usual AND NOT following AND of_sequence = 1 THEN
        INSERT INTO heard (source, subject, sequence, event_id)
        VALUES (of_source, of_subject, of_sequence, of_event) ON CONFLICT DO NOTHING;
        following := FOUND;
    END IF;
    IF NOT usual OR NOT following THEN
        RAISE EXCEPTION 'this event is not a usual one, or the log is not at size % any more', old_size
            USING ERRCODE = 'LP001';
    END IF;
    IF of_others THEN
        PERFORM pg_notify('audit_entries', '');
    END IF;
END
$$;
