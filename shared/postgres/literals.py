"""Arrays as PostgreSQL writes them, for parameters such as `$1::text::text[]`.

asyncpg asks of each element of an array whether it is an array itself, which takes longer than the statement once there
are hundreds of them.
"""

from collections.abc import Iterable


def texts(values: Iterable[str]) -> str:
    """For `text[]`."""
    items = list(values)
    joined = "".join(items)
    if "\\" in joined or '"' in joined:
        items = [item.replace("\\", "\\\\").replace('"', '\\"') for item in items]
    return '{"' + '","'.join(items) + '"}' if items else "{}"


def integers(values: Iterable[int]) -> str:
    """For an array of a type of integers."""
    return "{" + ",".join(map(str, values)) + "}"
