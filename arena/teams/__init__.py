"""Teams: users who take part in a competition together."""
