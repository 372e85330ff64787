-- Positions and sequences moved together, for records of which each is the next one of its partition, and of its source
-- and subject. Anything else is refused with SQLSTATE LP001, and nothing of the statement is kept.
CREATE FUNCTION take_in_turn(topics text[], partitions integer[], firsts bigint[], nexts bigint[],
    sources text[], subjects text[], first_sequences bigint[], last_sequences bigint[], event_ids text[])
RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    moved bigint;
    heard_on bigint;
BEGIN
    UPDATE position SET next_offset = given.next_offset
    FROM unnest(topics, partitions, firsts, nexts) AS given (topic, partition, first_offset, next_offset)
    WHERE position.topic = given.topic AND position.partition = given.partition
        AND position.next_offset <= given.first_offset;
    GET DIAGNOSTICS moved = ROW_COUNT;
    UPDATE heard SET sequence = given.last_sequence, event_id = given.event_id
    FROM unnest(sources, subjects, first_sequences, last_sequences, event_ids)
        AS given (source, subject, first_sequence, last_sequence, event_id)
    WHERE heard.source = given.source AND heard.subject = given.subject
        AND heard.sequence = given.first_sequence - 1;
    GET DIAGNOSTICS heard_on = ROW_COUNT;
    IF moved = cardinality(topics) AND heard_on < cardinality(sources) THEN
        INSERT INTO heard (source, subject, sequence, event_id)
        SELECT given.source, given.subject, given.last_sequence, given.event_id
        FROM unnest(sources, subjects, first_sequences, last_sequences, event_ids)
            AS given (source, subject, first_sequence, last_sequence, event_id)
        WHERE given.first_sequence = 1
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS moved = ROW_COUNT;
        heard_on := heard_on + moved;
        moved := cardinality(topics);
    END IF;
    -- What is parked has to be settled by whoever hears its event again.
    IF moved <> cardinality(topics) OR heard_on <> cardinality(sources)
        OR EXISTS (SELECT FROM parked WHERE settled_at IS NULL) THEN
        RAISE EXCEPTION 'these records are not the next ones' USING ERRCODE = 'LP001';
    END IF;
END
$$;
