"""What the embedded stack says when it cannot."""


class EmbeddedError(Exception):
    """One sentence for the person at the terminal: what is missing or broken, and what mends it."""
