"""What every game shares: an episode is its calls. Registry, resume, fork, replay and the budget of calls."""
