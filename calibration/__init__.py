"""Measures the references of tuning tasks: what the default settings reach, and the best of many other players."""
