"""Devices and lines: the plan when a phone is lost, every command sent, and what is known of its effect."""
