-- Keys, boxes, grants and the record of openings. No service may touch the tables; it has the functions of 0002.

CREATE TABLE data_class (
    name text PRIMARY KEY
);
INSERT INTO data_class VALUES ('contact'), ('position'), ('narrative'), ('principal'), ('secret');

-- What a database role may do with a class. Checked by the functions against the role that logged in.
CREATE TABLE class_grant (
    service     text NOT NULL,
    data_class  text NOT NULL REFERENCES data_class,
    may_put     boolean NOT NULL,
    may_open    boolean NOT NULL,
    may_destroy boolean NOT NULL,
    PRIMARY KEY (service, data_class)
);

CREATE TABLE person_key (
    organisation text NOT NULL CHECK (organisation <> '' AND length(organisation) <= 80),
    person       text NOT NULL CHECK (person ~ '^[a-z]{1,16}-[0-9a-f-]{8,64}$'),
    vault_key    text NOT NULL CHECK (length(vault_key) BETWEEN 1 AND 64),
    wrapped      bytea NOT NULL CHECK (length(wrapped) = 60),
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organisation, person)
);

CREATE TABLE box (
    digest       text PRIMARY KEY CHECK (digest ~ '^[A-Za-z0-9_-]{43}$'),
    organisation text NOT NULL,
    person       text NOT NULL,
    data_class   text NOT NULL REFERENCES data_class,
    content      bytea NOT NULL CHECK (length(content) <= 131072),
    put_by       text NOT NULL,
    put_at       timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (organisation, person) REFERENCES person_key
);
CREATE INDEX box_person ON box (organisation, person);

-- Who looked at what, or destroyed it, and why. Nobody changes or removes a row, not even the owner by mistake.
CREATE TABLE access_record (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    act          text NOT NULL CHECK (act IN ('open', 'destroy')),
    service      text NOT NULL,
    organisation text NOT NULL,
    person       text,
    data_class   text,
    digest       text,
    actor        text NOT NULL CHECK (length(actor) BETWEEN 1 AND 120),
    reason       text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    fields       integer NOT NULL
);
CREATE INDEX access_record_person ON access_record (organisation, person);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of vault.% are never changed or removed', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER rows_stay BEFORE UPDATE OR DELETE ON access_record FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER table_stays BEFORE TRUNCATE ON access_record FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE access_record ENABLE ALWAYS TRIGGER rows_stay;
ALTER TABLE access_record ENABLE ALWAYS TRIGGER table_stays;
REVOKE EXECUTE ON FUNCTION refuse_change() FROM PUBLIC;
