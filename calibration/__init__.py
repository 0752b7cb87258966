"""Measures the references of tuning tasks: what the settings reach that a task begins with, and the best of many other players."""
