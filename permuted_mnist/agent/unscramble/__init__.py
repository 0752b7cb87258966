"""Puts permuted pixels back where they lay. The agent that trains on such images is still to come."""
