-- Run by the superuser: event triggers belong to one. They refuse, to everybody, to drop, alter or rewrite what the
-- timeline is made of, until a migration says that it means it: SET LOCAL lostphone.guard = 'open'.

-- In a schema of its own: with the schema that it guards, a trigger's function would be gone before it is asked.
CREATE SCHEMA IF NOT EXISTS timeline_guard;

CREATE OR REPLACE FUNCTION timeline_guard.refuse_drop() RETURNS event_trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped record;
BEGIN
    IF current_setting('lostphone.guard', true) = 'open' THEN
        RETURN;
    END IF;
    FOR dropped IN SELECT * FROM pg_event_trigger_dropped_objects() LOOP
        IF dropped.object_identity ~ '(^|[ .])audit(?:_closed_[0-9_]+)?\.(entry|tile|detached|checkpoint|timestamp_response|log_state|stream|head)([ .(]|$)'
           OR dropped.object_identity ~ '^(audit(?:_closed_[0-9_]+)?\.refuse_|timeline_guard\.)' THEN
            RAISE EXCEPTION 'the timeline is only ever added to: dropping % is refused', dropped.object_identity
                USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION timeline_guard.refuse_alter() RETURNS event_trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    command record;
BEGIN
    IF current_setting('lostphone.guard', true) = 'open' THEN
        RETURN;
    END IF;
    FOR command IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
        IF command.command_tag IN ('ALTER TABLE', 'CREATE TRIGGER', 'ALTER TRIGGER', 'CREATE RULE', 'ALTER FUNCTION')
           AND command.object_identity ~ '(^|[ .])audit(?:_closed_[0-9_]+)?\.(entry|tile|detached|checkpoint|timestamp_response|log_state|refuse_[a-z]+)([ .(]|$)' THEN
            RAISE EXCEPTION 'the timeline is only ever added to: % on % is refused', command.command_tag,
                command.object_identity USING ERRCODE = 'insufficient_privilege';
        END IF;
    END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION timeline_guard.refuse_drop(), timeline_guard.refuse_alter() FROM PUBLIC;
DROP EVENT TRIGGER IF EXISTS audit_refuse_drop;
DROP EVENT TRIGGER IF EXISTS audit_refuse_alter;
CREATE EVENT TRIGGER audit_refuse_drop ON sql_drop EXECUTE FUNCTION timeline_guard.refuse_drop();
CREATE EVENT TRIGGER audit_refuse_alter ON ddl_command_end EXECUTE FUNCTION timeline_guard.refuse_alter();
ALTER EVENT TRIGGER audit_refuse_drop ENABLE ALWAYS;
ALTER EVENT TRIGGER audit_refuse_alter ENABLE ALWAYS;
