"""Where training runs: in this process or in a pool of worker processes, under one contract."""
