"""Tools that nobody here wrote, put to the log. Not part of the suite: they need Go and its module proxy."""
