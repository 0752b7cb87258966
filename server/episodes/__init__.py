"""What all games share: tools, sessions, the registry of episodes, resume, fork, replay and the budget of calls."""
