"""Which worker of a parallel run gets which tests, and in which order.

A room whose tests share what takes long to make (its fixtures of scope `package`) stays with one worker, so that it is
made once; elsewhere each file is a unit. What takes long is begun first: begun last, it would still run when the other
workers have nothing left to do.
"""

from xdist.scheduler import LoadScopeScheduling

_ROOMS = ("mdm_actions", "notifier", "providers", "reporter", "requests")
_LONG = (
    "tests/chaos/test_the_installation_survives.py",
    "tests/mdm_actions",
    "tests/story/test_from_outside.py",
    "tests/providers",
    "tests/secure/test_guarded_installation.py",
    "tests/requests",
    "tests/ops/test_a_running_installation.py",
    "tests/reporter",
    "tests/command/test_up_and_down.py",
    "tests/notifier",
)
"""Units that take longest. Whole installations stand between rooms that need less, so that two seldom start at once."""


def unit_of(nodeid: str) -> str:
    """The tests that stay together with this one: its room, or its file."""
    file = nodeid.partition("::")[0]
    room = "/".join(file.split("/")[:2])
    return room if room.removeprefix("tests/") in _ROOMS else file


def rank(nodeid: str) -> tuple[int, str]:
    """Sorts tests by when their unit is begun."""
    unit = unit_of(nodeid)
    return (_LONG.index(unit) if unit in _LONG else len(_LONG)), unit


class Units(LoadScopeScheduling):
    """Hands out units in the order in which the tests were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
