"""What organisers do with the submissions to their competitions."""
