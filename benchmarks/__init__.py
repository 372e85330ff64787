"""How fast the product is, as ratios to the bare path in the same run: `make bench`, `make bench-audit`."""
