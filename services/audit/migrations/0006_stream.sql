-- How far a partition is recorded is what its last entry says, by the unique key of entries: kept once more it was one
-- more row to change for every entry.
ALTER TABLE stream DROP COLUMN next_offset;
