"""Identity providers, one module per vendor."""
