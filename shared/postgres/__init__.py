"""PostgreSQL: connections for one schema, and its migrations."""

from shared.postgres.connection import connect
from shared.postgres.migrations import MigrationError, migrate

__all__ = ["MigrationError", "connect", "migrate"]
