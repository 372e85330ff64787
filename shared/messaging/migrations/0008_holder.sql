-- Whose the lease of a timer is that fires: the run of the server and the number under whose advisory lock the process
-- stands, and the due time of that lease. At any other due time nobody holds it: the version before moves the one alone.
ALTER TABLE timer ADD COLUMN holder text, ADD COLUMN held_until timestamptz;
