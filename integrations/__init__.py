"""Adapters to the libraries of others, a module or folder each."""
