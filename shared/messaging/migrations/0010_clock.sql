-- The latest time of this server that the service saw, and the last setting of a timer by then: by these it is known
-- that the clock was set back since, and which timers were set before.
CREATE TABLE clock (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    armed   bigint NOT NULL DEFAULT 0
);
INSERT INTO clock DEFAULT VALUES;
