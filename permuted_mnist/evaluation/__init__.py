"""Judges agents: each task in a sandbox of its own, timed and graded from outside."""
