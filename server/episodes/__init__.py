"""The episode: its rules, its budget, its rewards and its checkpoints."""
