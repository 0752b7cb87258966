"""The board: who is ahead, and by how much it is certain."""
