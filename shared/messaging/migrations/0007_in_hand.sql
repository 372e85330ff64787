-- Whether an event about the same subject still waits, asked whenever a unit speaks.
CREATE INDEX outbox_key ON outbox (key);
