"""Episodes without a server: an agent's session on an episode in this process.

Calibration, benchmarks and adapters to other libraries play the real games with it: the same episodes, tools and rules,
without a journal, HTTP or worker processes.
"""
