"""The reporter owns the case: what was reported, what is true about it, and what people decided."""
