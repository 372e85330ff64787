-- Cases, the reports that opened or joined them, what happened in each, and the phones they may be about.

-- A phone as the inventory knows it. Numbers lie in the vault; `facts` carries commitments.
CREATE TABLE device (
    device       text PRIMARY KEY,
    organisation text NOT NULL,
    holder       text,
    retired      boolean NOT NULL DEFAULT false,
    facts        jsonb NOT NULL
);
CREATE INDEX device_holder ON device (organisation, holder) WHERE NOT retired;

-- Keyed hashes of phone number, serial, IMEI and asset tag, so that a typed number finds its phone.
CREATE TABLE device_term (
    organisation text NOT NULL,
    term         text NOT NULL,
    device       text NOT NULL REFERENCES device,
    PRIMARY KEY (organisation, term, device)
);
CREATE INDEX device_term_device ON device_term (device);

-- `state` is the whole case; the other columns repeat what is searched by.
CREATE TABLE incident (
    incident     text PRIMARY KEY,
    organisation text NOT NULL,
    drill        boolean NOT NULL,
    status       text NOT NULL,
    device       text,
    -- A second report of the same phone joins this case.
    joinable     boolean NOT NULL,
    ended        boolean NOT NULL,
    reported_at  timestamptz NOT NULL,
    changed_at   timestamptz NOT NULL,
    state        jsonb NOT NULL
);
CREATE INDEX incident_joinable ON incident (organisation, device, drill) WHERE joinable AND device IS NOT NULL;
CREATE INDEX incident_queue ON incident (organisation, ended, reported_at DESC, incident DESC);

-- Every report that was accepted, as it was told. Of its receipt code only the hash is kept.
CREATE TABLE report (
    incident      text NOT NULL REFERENCES incident,
    number        integer NOT NULL,
    organisation  text NOT NULL,
    door          text NOT NULL,
    reported_as   text NOT NULL,
    reporter      text,
    vault_person  text NOT NULL,
    reporter_name text,
    trusted       boolean NOT NULL,
    facts         jsonb NOT NULL,
    reported_at   timestamptz NOT NULL,
    receipt_hash  text NOT NULL UNIQUE,
    PRIMARY KEY (incident, number)
);

-- Requests that were accepted under an idempotency key, so that a repeated tap is one report.
CREATE TABLE accepted_key (
    organisation text NOT NULL,
    who          text NOT NULL,
    key          text NOT NULL,
    request      text NOT NULL,
    incident     text NOT NULL,
    accepted_at  timestamptz NOT NULL,
    PRIMARY KEY (organisation, who, key)
);

-- What happened, as told to the log and heard from it: for the case page and the history of facts.
CREATE TABLE entry (
    number   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident text NOT NULL REFERENCES incident,
    event_id text NOT NULL UNIQUE,
    type     text NOT NULL,
    actor    text NOT NULL,
    at       timestamptz NOT NULL,
    data     jsonb NOT NULL
);
CREATE INDEX entry_incident ON entry (incident, number);
