"""The outside world in miniature, speaking the vendors' own protocols. See README.md.

Nothing but the command line and tests imports it: to the services it is addresses, like the real world.
"""
