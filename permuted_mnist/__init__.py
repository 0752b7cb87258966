"""The Permuted-MNIST challenge: learn MNIST from scratch within a minute, its pixels and its labels permuted.

Importing it makes `gymnasium.make("PermutedMNIST-v0")` known.
"""

import gymnasium

__all__ = ["ENVIRONMENT_ID"]

ENVIRONMENT_ID = "PermutedMNIST-v0"

if ENVIRONMENT_ID not in gymnasium.registry:
    gymnasium.register(ENVIRONMENT_ID, entry_point="permuted_mnist.env.gymnasium_env:PermutedMNIST")
