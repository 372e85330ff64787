"""What a record becomes in the timeline, and what in it does not add up: pure, no clock, no database, no network."""
