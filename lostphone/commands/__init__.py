"""The groups of the `lostphone` command, one module each."""
