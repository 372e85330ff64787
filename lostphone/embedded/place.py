"""Where installed tools lie: jars, class archives and the NanoMDM binary, once per checkout."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def tools_folder() -> Path:
    """`.lostphone` of the checkout, or what `LOSTPHONE_TOOLS` names."""
    named = os.environ.get("LOSTPHONE_TOOLS")
    return Path(named) if named else PROJECT / ".lostphone"
