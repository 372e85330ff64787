"""Who must be told, by when, and who was: duties, notices, disclosure, alerts."""
