-- Phones, lines and accounts as the inventory names them; incidents as heard; what was ordered and what came of it.

CREATE TABLE line (
    line         text PRIMARY KEY,
    organisation text NOT NULL,
    carrier      text NOT NULL,
    sim_id       text,
    UNIQUE (carrier, sim_id)
);

CREATE TABLE device (
    device        text PRIMARY KEY,
    organisation  text NOT NULL,
    asset_tag     text NOT NULL,
    ownership     text NOT NULL,
    supervised    text NOT NULL,
    mdm           text,
    udid          text,
    line          text REFERENCES line,
    holder        text,
    facts         jsonb NOT NULL,  -- the payload of its newest event
    record        jsonb NOT NULL,  -- the imported row; what names the very phone is replaced by a keyed mark
    registered_at timestamptz NOT NULL,
    retired_at    timestamptz,
    last_seen_at  timestamptz,
    enrolled_at   timestamptz,     -- the last enrolment that was heard of
    UNIQUE (organisation, asset_tag),
    -- One phone answers to one organisation: nobody takes over another's by importing its id.
    UNIQUE (mdm, udid)
);
CREATE INDEX device_holder ON device (organisation, holder);

-- Where a person signs in; read when sessions are revoked.
CREATE TABLE account (
    organisation text NOT NULL,
    holder       text NOT NULL,
    account      text NOT NULL,
    PRIMARY KEY (organisation, holder)
);

CREATE TABLE posture (
    device      text NOT NULL REFERENCES device,
    observed_at timestamptz NOT NULL,
    facts       jsonb NOT NULL,
    PRIMARY KEY (device, observed_at)
);

CREATE TABLE incident (
    incident         text PRIMARY KEY,
    organisation     text NOT NULL,
    drill            boolean NOT NULL,
    state            text NOT NULL,
    verified         boolean NOT NULL,
    decision_version integer NOT NULL,
    device           text REFERENCES device,
    holder           text,
    reported_at      timestamptz NOT NULL,
    playbook         jsonb NOT NULL  -- the version that this incident runs under, whole
);
CREATE INDEX incident_device ON incident (device);

-- Never changed: an assessment that excuses a leak rests on it.
CREATE TABLE snapshot (
    incident text NOT NULL REFERENCES incident,
    device   text NOT NULL REFERENCES device,
    document bytea NOT NULL,
    sha256   text NOT NULL,
    taken_at timestamptz NOT NULL,
    PRIMARY KEY (incident, device)
);

CREATE TABLE plan (
    incident   text NOT NULL REFERENCES incident,
    planned_at timestamptz NOT NULL,
    steps      jsonb NOT NULL,
    event_id   text PRIMARY KEY
);

CREATE TABLE command (
    command      text PRIMARY KEY,
    place        bigint GENERATED ALWAYS AS IDENTITY,
    incident     text NOT NULL REFERENCES incident,
    organisation text NOT NULL,
    drill        boolean NOT NULL,
    kind         text NOT NULL,
    state        text NOT NULL,
    provider     text NOT NULL,
    target       text NOT NULL,  -- UDID, SIM id or account: what the provider is told
    device       text REFERENCES device,
    line         text REFERENCES line,
    holder       text,
    statement    jsonb,          -- of a wipe: what two people signed
    trigger      text,           -- of a suspension: why the line may be stopped now
    reason       text,
    cause        text,           -- the event that ordered it
    ordered_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    sent_at      timestamptz,    -- the provider took it
    ended_at     timestamptz,
    disarming_at timestamptz     -- withdrawal was asked of the provider
);
CREATE INDEX command_incident ON command (incident, place);
CREATE INDEX command_device ON command (device, kind);
CREATE INDEX command_line ON command (line) WHERE line IS NOT NULL;

-- Everything that was tried with, or heard of, a command, with the provider's own record of it.
CREATE TABLE attempt (
    command  text NOT NULL REFERENCES command,
    place    bigint GENERATED ALWAYS AS IDENTITY,
    at       timestamptz NOT NULL,
    what     text NOT NULL,
    state    text,
    reason   text,
    evidence bytea,
    sha256   text,
    PRIMARY KEY (command, place)
);

CREATE TABLE nonce (
    nonce        text PRIMARY KEY,
    organisation text NOT NULL,
    incident     text NOT NULL,
    drill        boolean NOT NULL,
    people       jsonb NOT NULL,  -- who signed; the breaker counts them
    used_at      timestamptz NOT NULL
);
CREATE INDEX nonce_recent ON nonce (organisation, used_at);

-- One row while a breaker is open, or since it was last reset.
CREATE TABLE breaker (
    organisation  text NOT NULL,
    drill         boolean NOT NULL,
    opened_at     timestamptz,
    reason        text,
    asked_by      jsonb NOT NULL DEFAULT '[]',
    asked_at      timestamptz,
    last_reset_at timestamptz,
    PRIMARY KEY (organisation, drill)
);

CREATE TABLE task (
    task          text PRIMARY KEY REFERENCES command,
    organisation  text NOT NULL,
    incident      text NOT NULL,
    kind          text NOT NULL,
    carrier       text NOT NULL,
    instructions  jsonb NOT NULL,
    state         text NOT NULL,
    opened_at     timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    done_by       text,
    done_at       timestamptz,
    reference     text,
    evidence      text,
    confirmed_by  text,
    confirmed_at  timestamptz
);
CREATE INDEX task_open ON task (organisation, due_at) WHERE state IN ('open', 'done');

-- Every signed webhook once, known command or not.
CREATE TABLE webhook (
    sha256      text PRIMARY KEY,
    received_at timestamptz NOT NULL,
    udid        text NOT NULL,
    topic       text NOT NULL,
    command     text,
    known       boolean NOT NULL
);
