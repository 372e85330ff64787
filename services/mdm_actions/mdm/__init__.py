"""MDM servers, one module per vendor."""
