"""An agent that ends its process at once."""

import os

import numpy as np


class Agent:
    def __init__(self, output_dim=10, seed=None):
        self.seed = seed

    def reset(self):
        pass

    def train(self, X_train, y_train):
        os._exit(0)

    def predict(self, X_test):
        return np.zeros(len(X_test), np.int64)
