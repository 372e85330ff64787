"""The timeline under kills: writer, publisher, feeder and database die at random moments, under load. The long run is
`make chaos-audit`."""
