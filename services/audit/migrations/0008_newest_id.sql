-- As before, but ids above the greatest one that is recorded are known to be new by one look: ids of events are UUIDs in
-- the order of time (version 7), so that most of a batch are. Others are looked up one by one, as before.
CREATE OR REPLACE FUNCTION refuse_unusual(moved_to bigint, first_seq bigint, event_ids text[], causes text[])
RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    IF moved_to IS NULL
        OR EXISTS (SELECT FROM unnest(event_ids) AS wanted (event_id)
            CROSS JOIN LATERAL (SELECT seq, subject FROM entry WHERE entry.event_id = wanted.event_id OFFSET 0) AS found
            WHERE wanted.event_id <= (SELECT max(event_id) FROM entry)
                AND found.seq < first_seq AND found.subject IS NOT NULL)
        OR EXISTS (SELECT FROM unnest(causes) AS wanted (event_id) LEFT JOIN LATERAL
            (SELECT seq, subject FROM entry WHERE entry.event_id = wanted.event_id OFFSET 0) AS found
            ON found.seq < first_seq AND found.subject IS NOT NULL
            WHERE found.seq IS NULL) THEN
        RAISE EXCEPTION 'this batch is not a usual one' USING ERRCODE = 'LP001';
    END IF;
END
$$;
