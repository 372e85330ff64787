-- The usual batch of a service in one call: positions and sequences move as `take_in_turn` moves them, and the subjects
-- that the service will work on are locked, with the last sequence that it gave to each.
CREATE FUNCTION take_and_lock(topics text[], partitions integer[], firsts bigint[], nexts bigint[],
    sources text[], subjects text[], first_sequences bigint[], last_sequences bigint[], event_ids text[], wanted text[])
RETURNS TABLE (locked text, last_sequence bigint)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM take_in_turn(topics, partitions, firsts, nexts, sources, subjects, first_sequences, last_sequences, event_ids);
    IF cardinality(wanted) = 0 THEN
        -- Nothing follows from them: what a power cut undoes is read again.
        PERFORM set_config('synchronous_commit', 'off', true);
        RETURN;
    END IF;
    RETURN QUERY
    INSERT INTO subject_sequence AS known (subject) SELECT given.subject FROM unnest(wanted) AS given (subject)
    ORDER BY given.subject DESC
    ON CONFLICT (subject) DO UPDATE SET last = known.last
    RETURNING known.subject, known.last;
END
$$;
