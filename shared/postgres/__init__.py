"""PostgreSQL: connections for one schema, and its migrations."""

from shared.postgres.connection import COMMAND_SECONDS, VANISHED_CLIENT, connect, keep
from shared.postgres.line import Line
from shared.postgres.migrations import MigrationError, migrate
from shared.postgres.together import Together

__all__ = ["COMMAND_SECONDS", "VANISHED_CLIENT", "Line", "MigrationError", "Together", "connect", "keep", "migrate"]
