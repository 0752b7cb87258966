"""Competitions: what is asked, under which limits, and by whom."""
