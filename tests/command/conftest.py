"""What the tests of the command line share."""

from collections.abc import Iterator

import pytest

from lostphone.embedded.ports import Claims


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port on which nobody listens."""
    claims = Claims()
    yield claims.settle({}, ["unused"])["unused"]
    claims.release()
