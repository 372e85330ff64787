"""The kit that every service stands on: events, messaging, vault, postgres, web and telemetry."""
