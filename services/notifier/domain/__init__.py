"""The rules of telling people: pure, no clock, no database, no network."""
