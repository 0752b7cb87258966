"""The Permuted-MNIST challenge: learn MNIST with permuted pixels and labels, from scratch, within a minute.

Importing this package registers `gymnasium.make("PermutedMNIST-v0")`.
"""

import gymnasium

__all__ = ["ENVIRONMENT_ID"]

ENVIRONMENT_ID = "PermutedMNIST-v0"

if ENVIRONMENT_ID not in gymnasium.registry:
    gymnasium.register(ENVIRONMENT_ID, entry_point="permuted_mnist.env.gymnasium_env:PermutedMNIST")
