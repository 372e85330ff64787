-- What the notifier knows of each incident: folded from events, and from nothing else.
CREATE TABLE incident (
    incident     text PRIMARY KEY,
    organisation text NOT NULL,
    drill        boolean NOT NULL,
    facts        jsonb NOT NULL
);

CREATE TABLE duty (
    duty          text PRIMARY KEY,
    incident      text NOT NULL REFERENCES incident,
    organisation  text NOT NULL,
    opened        jsonb NOT NULL,
    state         text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'filed', 'met', 'waived')),
    overdue       boolean NOT NULL DEFAULT false,
    ended_at      timestamptz,
    receipt       text,
    receipt_hash  text,
    how           text,
    waiver_by     text,
    waiver_reason text,
    waived_by     text[]
);
CREATE INDEX duty_incident ON duty (incident);
CREATE INDEX duty_board ON duty (organisation) WHERE state = 'open';

CREATE TABLE alert (
    alert           text PRIMARY KEY,
    subject         text NOT NULL,
    organisation    text NOT NULL,
    drill           boolean NOT NULL,
    kind            text NOT NULL,
    attempt         integer NOT NULL DEFAULT 0,
    opened_at       timestamptz NOT NULL,
    acknowledged_by text,
    acknowledged_at timestamptz,
    ended           boolean NOT NULL DEFAULT false
);
CREATE INDEX alert_subject ON alert (subject) WHERE NOT ended;

-- People concerned. Names and addresses lie in the vault; `contact` is a keyed pseudonym that keeps one person from
-- being listed twice, and is emptied when the person is erased.
CREATE TABLE principal (
    person       text PRIMARY KEY,
    incident     text NOT NULL REFERENCES incident,
    organisation text NOT NULL,
    contact      text,
    name         text NOT NULL,
    mail         text,
    line_user_id text,
    UNIQUE (incident, contact)
);

CREATE TABLE batch (
    batch              text PRIMARY KEY,
    incident           text NOT NULL REFERENCES incident,
    organisation       text NOT NULL,
    template           text NOT NULL,
    assessment_version integer NOT NULL,
    subject            text NOT NULL,
    mail               text NOT NULL,
    line               text NOT NULL,
    people             integer NOT NULL,
    ordered_by         text NOT NULL,
    started_at         timestamptz NOT NULL,
    settled_at         timestamptz
);
CREATE INDEX batch_incident ON batch (incident);

-- The notice ledger: one row per person of a batch.
CREATE TABLE notice (
    batch       text NOT NULL REFERENCES batch,
    person      text NOT NULL REFERENCES principal,
    token       text NOT NULL UNIQUE,
    channels    text[] NOT NULL,
    state       text NOT NULL DEFAULT 'planned'
                CHECK (state IN ('planned', 'sending', 'accepted', 'bounced', 'failed', 'uncertain')),
    channel     text NOT NULL,
    tries       integer NOT NULL DEFAULT 0,
    not_before  timestamptz NOT NULL,
    provider_id text,
    reason      text,
    told_at     timestamptz,
    PRIMARY KEY (batch, person)
);
CREATE INDEX notice_open ON notice (batch, not_before) WHERE state IN ('planned', 'sending');

CREATE TABLE notice_attempt (
    batch       text NOT NULL,
    person      text NOT NULL,
    channel     text NOT NULL,
    at          timestamptz NOT NULL,
    outcome     text NOT NULL,
    provider_id text,
    reason      text,
    FOREIGN KEY (batch, person) REFERENCES notice
);

CREATE TABLE disclosure (
    disclosure     text PRIMARY KEY,
    incident       text NOT NULL REFERENCES incident,
    organisation   text NOT NULL,
    drill          boolean NOT NULL,
    retracted_at   timestamptz,
    retract_reason text
);
CREATE INDEX disclosure_incident ON disclosure (incident);

CREATE TABLE edition (
    disclosure      text NOT NULL REFERENCES disclosure,
    version         integer NOT NULL,
    document        jsonb NOT NULL,
    details         jsonb NOT NULL,
    told            jsonb NOT NULL,
    sha256          text NOT NULL,
    reason          text,
    desk_sha256     text,
    desk_checked_at timestamptz,
    issued_at       timestamptz,
    PRIMARY KEY (disclosure, version)
);

CREATE TABLE approval (
    disclosure text NOT NULL,
    version    integer NOT NULL,
    role       text NOT NULL,
    person     text NOT NULL,
    sha256     text NOT NULL,
    at         timestamptz NOT NULL,
    PRIMARY KEY (disclosure, version, role),
    UNIQUE (disclosure, version, person),
    FOREIGN KEY (disclosure, version) REFERENCES edition
);
