"""The bus of the kit's own tests, for what operators do with it."""

from tests.messaging.conftest import bus, incident

__all__ = ["bus", "incident"]
