"""Uploads: bounded while they come, looked at without being run, kept by what they hold."""
