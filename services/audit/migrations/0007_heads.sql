-- The head of a chain is its last entry, by the unique key of chains: kept once more it was one more row to change for
-- every entry, and one more thing that could say something else than the entries do.
DROP TABLE head;

DROP FUNCTION append_event;
-- As before, without the head.
CREATE FUNCTION append_event(
    old_size bigint, old_epoch bigint, old_root bytea, new_epoch bigint, new_root bytea, new_writer text,
    of_topic text, of_partition integer, of_offset bigint, of_stream smallint,
    of_subject text, of_source text, of_sequence bigint, of_event text, of_cause text,
    of_type text, of_organisation text, of_kind text, of_n bigint, of_hash bytea, of_leaf bytea)
RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    UPDATE log_state SET size = old_size + 1, root = new_root, epoch = new_epoch, writer = new_writer
    WHERE size = old_size AND epoch = old_epoch AND root = old_root;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log is not at size % any more', old_size USING ERRCODE = 'LP001';
    END IF;
    IF EXISTS (SELECT FROM entry WHERE event_id = of_event AND subject IS NOT NULL)
        OR of_cause IS NOT NULL AND NOT EXISTS (SELECT FROM entry WHERE event_id = of_cause AND subject IS NOT NULL)
        OR EXISTS (SELECT FROM parked WHERE settled_at IS NULL) THEN
        RAISE EXCEPTION 'this event is not a usual one' USING ERRCODE = 'LP001';
    END IF;
    UPDATE position SET next_offset = of_offset + 1
    WHERE topic = of_topic AND partition = of_partition AND next_offset <= of_offset;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'this record is not the next of its partition' USING ERRCODE = 'LP001';
    END IF;
    UPDATE heard SET sequence = of_sequence, event_id = of_event
    WHERE source = of_source AND subject = of_subject AND sequence = of_sequence - 1;
    IF NOT FOUND THEN
        INSERT INTO heard (source, subject, sequence, event_id)
        SELECT of_source, of_subject, of_sequence, of_event WHERE of_sequence = 1
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'this event is not the next of its source' USING ERRCODE = 'LP001';
        END IF;
    END IF;
    INSERT INTO entry (seq, kind, leaf_hash, leaf, stream_id, kafka_offset, subject, n, organisation, source, event_id,
        event_type)
    VALUES (old_size, of_kind, of_hash, of_leaf, of_stream, of_offset, of_subject, of_n, of_organisation, of_source,
        of_event, of_type);
    PERFORM pg_notify('audit_entries', '');
END
$$;
