-- What a record says is in its leaf, behind the first line: its hash is made from there, the few times it is asked for.
ALTER TABLE entry DROP COLUMN body_hash;

-- Refuses, with SQLSTATE LP001, a batch that needs to be looked at: the log moved, one of its events is recorded
-- already, or one of its causes is not. OFFSET 0: by the index of ids for each, whatever else could be tried.
CREATE FUNCTION refuse_unusual(moved_to bigint, first_seq bigint, event_ids text[], causes text[])
RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    IF moved_to IS NULL
        OR EXISTS (SELECT FROM unnest(event_ids) AS wanted (event_id)
            CROSS JOIN LATERAL (SELECT seq, subject FROM entry WHERE entry.event_id = wanted.event_id OFFSET 0) AS found
            WHERE found.seq < first_seq AND found.subject IS NOT NULL)
        OR EXISTS (SELECT FROM unnest(causes) AS wanted (event_id) LEFT JOIN LATERAL
            (SELECT seq, subject FROM entry WHERE entry.event_id = wanted.event_id OFFSET 0) AS found
            ON found.seq < first_seq AND found.subject IS NOT NULL
            WHERE found.seq IS NULL) THEN
        RAISE EXCEPTION 'this batch is not a usual one' USING ERRCODE = 'LP001';
    END IF;
END
$$;
