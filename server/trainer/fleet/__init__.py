"""The fleet's engine: data-parallel training on logical ranks, as a pure function.

One process computes the gradient of every rank on that rank's own data and reduces them in rank order. Time, nodes and
faults are a seeded model under an integer clock. So a step is a function of (state, settings, text) alone.
"""
