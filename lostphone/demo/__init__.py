"""`lostphone demo`: one lost phone, from report to verified timeline, in front of the user.

Plays into the running installation, or starts one for its own duration when none runs.
"""

from lostphone.demo.command import app

__all__ = ["app"]
