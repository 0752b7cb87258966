"""Submissions: agents, their files, their evaluations."""
