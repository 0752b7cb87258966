"""Agents that play the environment through its client, with logs, progress and reports.

Nothing here imports torch or `ml_trainer_env.server`. Agents see only what any client sees.
"""
