"""Carriers, one module per vendor, and the desk for those without an interface."""
