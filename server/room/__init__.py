"""The pages for people: an episode's curves and its page."""
