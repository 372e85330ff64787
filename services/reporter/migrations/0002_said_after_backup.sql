-- After a restore onto a log that has gone on: what the reporter had said about a subject later than the backup, in
-- sequences above `known` up to `said`. It is read from the log again; the row goes with the last of it.
CREATE TABLE said_after_backup (
    subject text PRIMARY KEY,
    known   bigint NOT NULL,
    said    bigint NOT NULL CHECK (said > known)
);
