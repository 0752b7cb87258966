"""Runs a program that nobody vouches for: what it may use, see and leave behind. Knows nothing of digits."""
