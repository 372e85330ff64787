-- The only doors. SECURITY DEFINER with a fixed search path; who calls is `session_user`, the role that logged in.

-- Store boxes. `people` and `keys` offer a wrapped key for each person who has none yet. A row comes back for each
-- person who has another key than the one offered: nothing of that person was stored, and the caller seals again.
CREATE FUNCTION put(
    of_organisation text, of_class text, offered_vault_key text, people text[], keys bytea[],
    box_people text[], box_digests text[], box_contents bytea[]
) RETURNS TABLE (person text, vault_key text, wrapped bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM class_grant g WHERE g.service = session_user AND g.data_class = of_class AND g.may_put) THEN
        RAISE EXCEPTION 'role % may not put % data', session_user, of_class USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO person_key (organisation, person, vault_key, wrapped)
        SELECT of_organisation, o.person, offered_vault_key, o.key
        FROM unnest(people, keys) AS o (person, key) ORDER BY o.person
        ON CONFLICT DO NOTHING;
    PERFORM FROM person_key k WHERE k.organisation = of_organisation AND k.person = ANY (people)
        ORDER BY k.person FOR SHARE;
    INSERT INTO box (digest, organisation, person, data_class, content, put_by)
        SELECT b.digest, of_organisation, b.person, of_class, b.content, session_user
        FROM unnest(box_people, box_digests, box_contents) AS b (person, digest, content)
        JOIN unnest(people, keys) AS o (person, key) ON o.person = b.person
        JOIN person_key k ON k.organisation = of_organisation AND k.person = b.person AND k.wrapped = o.key;
    RETURN QUERY
        SELECT k.person, k.vault_key, k.wrapped
        FROM unnest(people, keys) AS o (person, key)
        JOIN person_key k ON k.organisation = of_organisation AND k.person = o.person
        WHERE k.wrapped <> o.key;
END $$;

-- Open boxes of one organisation, each on the record with who and why. What was erased, never existed or belongs to
-- another organisation has no row in the answer.
CREATE FUNCTION open(of_organisation text, wanted text[], who text, why text)
RETURNS TABLE (digest text, person text, data_class text, vault_key text, wrapped bytea, content bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
#variable_conflict use_column
DECLARE
    denied text;
BEGIN
    SELECT b.data_class INTO denied FROM box b
        WHERE b.digest = ANY (wanted) AND b.organisation = of_organisation AND NOT EXISTS (
            SELECT FROM class_grant g WHERE g.service = session_user AND g.data_class = b.data_class AND g.may_open)
        LIMIT 1;
    IF denied IS NOT NULL THEN
        RAISE EXCEPTION 'role % may not open % data', session_user, denied USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO access_record (act, service, organisation, person, data_class, digest, actor, reason, fields)
        SELECT 'open', session_user, of_organisation, b.person, b.data_class, w.digest, who, why, count(b.digest)
        FROM unnest(wanted) AS w (digest)
        LEFT JOIN box b ON b.digest = w.digest AND b.organisation = of_organisation
        GROUP BY w.digest, b.person, b.data_class;
    RETURN QUERY
        SELECT b.digest, b.person, b.data_class, k.vault_key, k.wrapped, b.content
        FROM box b JOIN person_key k ON k.organisation = b.organisation AND k.person = b.person
        WHERE b.digest = ANY (wanted) AND b.organisation = of_organisation;
END $$;

-- Destroy the key and all boxes of one person; returns how many boxes there were.
CREATE FUNCTION destroy(of_organisation text, of_person text, who text, why text) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
DECLARE
    destroyed integer;
BEGIN
    IF EXISTS (SELECT FROM data_class c WHERE NOT EXISTS (
        SELECT FROM class_grant g WHERE g.service = session_user AND g.data_class = c.name AND g.may_destroy)) THEN
        RAISE EXCEPTION 'role % may not destroy personal data', session_user USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM FROM person_key k WHERE k.organisation = of_organisation AND k.person = of_person FOR UPDATE;
    DELETE FROM box b WHERE b.organisation = of_organisation AND b.person = of_person;
    GET DIAGNOSTICS destroyed = ROW_COUNT;
    DELETE FROM person_key k WHERE k.organisation = of_organisation AND k.person = of_person;
    INSERT INTO access_record (act, service, organisation, person, actor, reason, fields)
        VALUES ('destroy', session_user, of_organisation, of_person, who, why, destroyed);
    RETURN destroyed;
END $$;

REVOKE EXECUTE ON FUNCTION put(text, text, text, text[], bytea[], text[], text[], bytea[]) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION open(text, text[], text, text) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION destroy(text, text, text, text) FROM PUBLIC;
