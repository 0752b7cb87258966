"""What the benchmarks of a running server share: a server process, light clients, figures and how they are told."""
