"""Agents of the tuning game that search settings: they differ in who proposes, and share space, trials and the end."""
