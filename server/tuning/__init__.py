"""The tuning game: an agent chooses how one model is trained. Its tasks, rules, rewards and grades."""
