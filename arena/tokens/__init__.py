"""Tokens: who calls, and for what."""
