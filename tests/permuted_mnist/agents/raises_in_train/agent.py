"""An agent that raises an exception in train."""

import numpy as np


class Agent:
    def __init__(self, output_dim=10, seed=None):
        self.seed = seed

    def reset(self):
        pass

    def train(self, X_train, y_train):
        raise ValueError("its own words: expected (60000, 784)")

    def predict(self, X_test):
        return np.zeros(len(X_test), np.int64)
