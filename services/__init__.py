"""The four services; each owns its facts and never calls another."""
