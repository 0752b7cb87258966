"""An agent that puts permuted pixels back where they lay, and then learns from images: see agent.py."""
