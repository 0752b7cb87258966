"""An agent that trains a network blind to where pixels lie, as far as a minute allows: see agent.py."""
