"""Changes of the journal's tables, one after the other."""
