-- Which service may do what with which class. reporter carries out erasure; notifier writes to people, and so opens
-- contacts and principals; mdm_actions puts positions and keeps the secrets of devices; audit gets nothing.
INSERT INTO class_grant (service, data_class, may_put, may_open, may_destroy) VALUES
    ('reporter',    'contact',   true,  true,  true),
    ('reporter',    'position',  true,  true,  true),
    ('reporter',    'narrative', true,  true,  true),
    ('reporter',    'principal', true,  false, true),
    ('reporter',    'secret',    true,  true,  true),
    ('mdm_actions', 'contact',   true,  true,  false),
    ('mdm_actions', 'position',  true,  true,  false),
    ('mdm_actions', 'narrative', true,  false, false),
    ('mdm_actions', 'secret',    true,  true,  false),
    ('notifier',    'contact',   true,  true,  false),
    ('notifier',    'narrative', true,  true,  false),
    ('notifier',    'principal', true,  true,  false);

-- The roles come with the installation, before any schema; a database that has only some of them is a test's.
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT DISTINCT g.service FROM class_grant g JOIN pg_roles r ON r.rolname = g.service LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA vault TO %I', role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION put(text, text, text, text[], bytea[], text[], text[], bytea[]) TO %I', role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION open(text, text[], text, text) TO %I', role);
        EXECUTE format('GRANT EXECUTE ON FUNCTION destroy(text, text, text, text) TO %I', role);
    END LOOP;
END $$;
