"""What leaves towards integrators: only what is recorded, in the order of the log."""
