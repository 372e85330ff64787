"""The rules of containment: pure, no clock, no database, no network."""
