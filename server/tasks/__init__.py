"""The tasks: what is trained on which images within which budget, and what that is worth."""
