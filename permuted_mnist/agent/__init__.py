"""Agents. Each folder stands alone, as a submission does: `agent.py` with a class `Agent`, and files of its own."""
