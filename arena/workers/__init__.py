"""Workers: they take evaluations from the queue, one at a time, and bring each to an end."""
