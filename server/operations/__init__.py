"""For the people who run a server: logs, metrics and probes."""
