"""Agents that play the environment through its client, and what is needed to watch them.

Nothing here imports torch or anything under `ml_trainer_env.server`: agents see what any
client sees.
"""
