"""Measures the references of tuning tasks: what its own settings reach, and the best of many players."""
